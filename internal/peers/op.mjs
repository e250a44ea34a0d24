// The certified OpenID Provider "oidc-provider" as a test peer.
//
// stdin:  one line of JSON, {"clients": [client metadata], "accessTokenTTL": seconds}, then silence;
//         its end ends the process, so that no server outlives its test.
// stdout: one line of JSON, {"issuer": URL}, once it listens on a free loopback port.
//
// Beside the provider's own endpoints there is POST /control/rotate, which
// replaces the signing keys, and GET /control/counts, which tells how many
// token requests were granted and refused.
import { createServer } from 'node:http';
import { generateKeyPair, randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { once } from 'node:events';
import { promisify } from 'node:util';
import Provider, { errors } from 'oidc-provider';

// Each API has its own signature algorithm; the last one's tokens are opaque.
const apis = { 'urn:api:rs256': 'RS256', 'urn:api:es256': 'ES256', 'urn:api:eddsa': 'EdDSA', 'urn:api:opaque': undefined };
const scope = 'read write';

const counts = { granted: 0, refused: 0 };

// The server answers others while it makes keys, which takes long on a busy machine.
async function signingKeys() {
  const make = promisify(generateKeyPair);
  const pairs = {
    RS256: await make('rsa', { modulusLength: 2048 }),
    ES256: await make('ec', { namedCurve: 'P-256' }),
    EdDSA: await make('ed25519'),
  };
  return Object.entries(pairs).map(([alg, { privateKey }]) => (
    { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${randomUUID()}` }));
}

function build(issuer, { clients, accessTokenTTL }, keys) {
  const provider = new Provider(issuer, {
    clients,
    jwks: { keys },
    cookies: { keys: [randomUUID()] },
    scopes: ['openid', 'offline_access', ...scope.split(' ')],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] },
    ttl: {
      AccessToken: accessTokenTTL, ClientCredentials: accessTokenTTL,
      RefreshToken: 600, AuthorizationCode: 60, Grant: 3600, Session: 3600, Interaction: 600, IdToken: 60,
    },
    clockTolerance: 0,
    rotateRefreshToken: true,
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    findAccount: async (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    // Clients publish their keys on loopback, which the provider's own guard against SSRF refuses.
    // Its limit of 2.5 s is too short for a busy machine.
    fetch: (url, { dispatcher, signal, ...options }) => fetch(url, options),
    interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      revocation: { enabled: true, allowedPolicy: async () => true },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => undefined,
        useGrantedResource: async () => true,
        getResourceServerInfo: async (_ctx, audience) => {
          if (!(audience in apis)) throw new errors.InvalidTarget();
          const alg = apis[audience];
          return { audience, scope, ...(alg ? { accessTokenFormat: 'jwt', jwt: { sign: { alg } } } : { accessTokenFormat: 'opaque' }) };
        },
      },
    },
  });
  provider.on('grant.success', () => { counts.granted += 1; });
  provider.on('grant.error', () => { counts.refused += 1; });
  return provider;
}

// The user named by login_hint signs in and consents to everything without a page.
async function interact(provider, req, res) {
  const { params, prompt } = await provider.interactionDetails(req, res);
  const grant = new provider.Grant({ accountId: params.login_hint, clientId: params.client_id });
  grant.addOIDCScope(`openid offline_access ${scope}`);
  for (const resource of [params.resource ?? []].flat()) grant.addResourceScope(resource, scope);
  const result = prompt.name === 'login'
    ? { login: { accountId: params.login_hint } }
    : { consent: { grantId: await grant.save() } };
  await provider.interactionFinished(req, res, result, { mergeWithLastSubmission: true });
}

const lines = createInterface({ input: process.stdin });
lines.on('close', () => process.exit(0));
const [line] = await once(lines, 'line');
const config = JSON.parse(line);

let provider;
const server = createServer((req, res) => {
  const json = (body) => res.setHeader('Content-Type', 'application/json').end(JSON.stringify(body));
  switch (new URL(req.url, 'http://peer').pathname.split('/')[1]) {
    case 'control':
      if (!req.url.endsWith('/rotate')) return json(counts);
      return signingKeys().then((keys) => {
        provider = build(issuer, config, keys);
        json(counts);
      });
    case 'interaction':
      return interact(provider, req, res).catch((err) => res.writeHead(500).end(String(err)));
    default:
      return provider.callback()(req, res);
  }
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
provider = build(issuer, config, await signingKeys());
console.log(JSON.stringify({ issuer }));

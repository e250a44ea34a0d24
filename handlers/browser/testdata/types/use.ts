// A page in TypeScript, as it uses the module.
import { BearerError, createClient } from "../../client.mjs";

const client = createClient({
  base: "/api/consent",
  identity: async () => ({ org_user_id: "alice" }),
  cookie: true,
  onSignOut: () => location.assign("/"),
});

export async function notices(signal: AbortSignal): Promise<string> {
  try {
    const response: Response = await client.fetch(new URL("/consent/notices", location.href), { signal });
    const token: string = await client.token();
    return (await response.text()) + token;
  } catch (error) {
    if (error instanceof BearerError) {
      const wait: number = error.retryAfter;
      const status: number = error.status;
      const code: string = error.code;
      return `${code} ${status} ${wait}`;
    }
    throw error;
  } finally {
    await client.logout();
    client.close();
  }
}

// @ts-expect-error the base is required
createClient({});
// @ts-expect-error no such member
new BearerError("x").statusCode;

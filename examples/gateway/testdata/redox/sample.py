import datetime
import jwt
import requests
from uuid import uuid4
with open('private_key.pem', 'rb') as f:
    private_key = f.read()
class BackendServiceAuth(requests.auth.AuthBase):
    def __init__(self, auth_location, client_id, kid, private_key):
        self.auth_location = auth_location
        self.client_id = client_id
        self.kid = kid
        self.private_key = private_key
        self.token = None
    def __call__(self, request):
        if not self.token:
            expiration = datetime.datetime.now() + datetime.timedelta(minutes=5)
            # Add 'kid' property to the header
            headers = {
                'kid': self.kid,
                'alg': 'RS384',
                'typ': 'JWT',
            }
            assertion = jwt.encode(
                {
                    'iss': self.client_id,
                    'sub': self.client_id,
                    'aud': self.auth_location,
                    'exp': int(expiration.strftime('%s')),
                    'iat': int(datetime.datetime.now().strftime('%s')),
                    'jti': uuid4().hex,
                },
                self.private_key,
                algorithm='RS384',
                headers=headers)
            print(f"assertion: {assertion}")
            payload = {
                'grant_type': 'client_credentials',
                'client_assertion_type':
                'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
                'client_assertion': assertion
            }
            try:
                response = requests.post(self.auth_location, data=payload, timeout=30)
                response.raise_for_status()
                self.token = response.json()['access_token']
                print(f"success! {response.json()}")
            except requests.exceptions.RequestException as e:
                if hasattr(e, 'response') and e.response is not None:
                    print(f"Request failed with status code: {e.response.status_code}")
                    print(f"Response body: {e.response.text}")
                else:
                    print(f"Request failed: {e}")
        request.headers['Authorization'] = 'Bearer %s' % self.token
        return request
def main():
    client_id = '<your client id>'
    kid = '<the key id (kid) for your private key>'
    auth_location = 'https://api.redoxengine.com/v2/auth/token'
    auth = BackendServiceAuth(auth_location, client_id, kid, private_key)
    # Now you can use 'auth' as the authentication mechanism for your requests.
    response = requests.post(
        'https://api.redoxengine.com/fhir/R4/redox-fhir-sandbox/Development/Patient/_search',
        auth=auth)
    print(response.json()) # Example usage of the token to fetch patient data.
if __name__ == "__main__":
    main()

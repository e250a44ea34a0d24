module github.com/bearerkit/bearerkit/internal/interop

go 1.26.0

replace (
	github.com/bearerkit/bearerkit => ../../
	github.com/bearerkit/bearerkit/tokencache/oauth2bridge => ../../tokencache/oauth2bridge
)

require (
	github.com/bearerkit/bearerkit v0.0.0
	github.com/bearerkit/bearerkit/tokencache/oauth2bridge v0.0.0
	github.com/hashicorp/go-retryablehttp v0.7.8
	golang.org/x/oauth2 v0.38.0
)

require (
	github.com/MicahParks/jwkset v0.11.4 // indirect
	github.com/MicahParks/keyfunc/v3 v3.9.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	golang.org/x/sync v0.25.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

module github.com/bearerkit/bearerkit/examples

go 1.26.0

replace github.com/bearerkit/bearerkit => ../

require (
	github.com/bearerkit/bearerkit v0.0.0
	github.com/go-chi/httprate v0.16.1
	github.com/rs/cors v1.11.1
)

require (
	github.com/MicahParks/jwkset v0.11.3 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/klauspost/cpuid/v2 v2.2.10 // indirect
	github.com/zeebo/xxh3 v1.0.2 // indirect
	golang.org/x/sys v0.30.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

module github.com/bearerkit/bearerkit/tokencache/oauth2bridge

go 1.26.0

replace github.com/bearerkit/bearerkit => ../../

require (
	github.com/bearerkit/bearerkit v0.0.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/oauth2 v0.38.0
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.25.0 // indirect
)

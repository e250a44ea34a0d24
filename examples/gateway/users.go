package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/handlers"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/providers/redacto"
)

// createUser registers the verified caller, and nobody else, at Redacto.
func (g *gateway) createUser(p *redacto.Provider, tenant string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", "POST")
			handlers.WriteError(w, r, &providers.Error{Code: "method_not_allowed"})
			return
		}
		u, err := userFrom(w, r)
		if err != nil {
			handlers.WriteError(w, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 15*time.Second)
		defer cancel()
		u, created, err := p.CreateUser(ctx, tenant, u)
		if err != nil {
			g.log.Warn("create user", slog.Any("error", providers.AsError(err)))
			handlers.WriteError(w, r, err)
			return
		}
		status := http.StatusOK
		if created {
			status = http.StatusCreated
		}
		writeJSON(w, status, map[string]any{"detail": u})
	})
}

// userFrom reads the body, which may be empty, and puts the caller in.
func userFrom(w http.ResponseWriter, r *http.Request) (redacto.User, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<10))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return redacto.User{}, &providers.Error{Code: "body_too_large"}
	}
	var u redacto.User
	if len(body) > 0 && err == nil {
		if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t != "application/json" {
			return redacto.User{}, &providers.Error{Code: "unsupported_media_type"}
		}
		err = json.Unmarshal(body, &u)
	}
	var wrong *json.UnmarshalTypeError
	switch subject, ok := middleware.Subject(r.Context()); {
	case errors.As(err, &wrong) && wrong.Field != "":
		return redacto.User{}, &providers.Error{Code: providers.CodeInvalidField}
	case err != nil:
		return redacto.User{}, &providers.Error{Code: "invalid_json"}
	case !ok:
		return redacto.User{}, &providers.Error{Code: providers.CodeIdentityRequired}
	case u.OrgUserID != "" && u.OrgUserID != subject:
		return redacto.User{}, &providers.Error{Code: providers.CodeIdentityMismatch}
	default:
		return redacto.User{OrgUserID: subject, Email: u.Email, Mobile: u.Mobile, Name: u.Name, Metadata: u.Metadata}, nil
	}
}

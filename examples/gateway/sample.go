package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
)

// sample is THE BAD EXAMPLE, the left side of the page: the backend of Redacto's
// guide "Backend Integration", whose Express, FastAPI and Django listings do
// the same thing, ported without mending it. Do not copy it.
//
//   - Every request is a call of the vendor, each of which ends the tokens that
//     the user's other tabs hold. There is no cache and no shared flight.
//   - organisation_uuid and workspace_uuid go from the caller into the vendor's
//     path as they are.
//   - Nobody asks who the caller is, and every failure is a 500.
//
// One thing is left out: on failure the Express listing logs axios's error
// object, in which the API key stands among the request's headers.
type sample struct {
	key     string // CMS_API_KEY
	baseURL *url.URL
	client  *http.Client
	log     *slog.Logger
}

// handler mounts the two documented endpoints.
func (s *sample) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/consent/token", s.generate)
	mux.HandleFunc("POST /api/consent/refresh-token", s.refresh)
	return mux
}

func (s *sample) generate(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Email     string `json:"email,omitempty"`
		OrgUserID string `json:"org_user_id,omitempty"`
		Mobile    string `json:"mobile,omitempty"`
		Days      int    `json:"expires_in_days"`
	}
	if !s.read(w, r, &body, "Failed to generate token") {
		return
	}
	if body.Email == "" && body.OrgUserID == "" && body.Mobile == "" {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "At least one user identifier required"})
		return
	}
	body.Days = 1
	q := r.URL.Query()
	s.answer(w, q.Get("organisation_uuid"), q.Get("workspace_uuid"), "generate", body)
}

func (s *sample) refresh(w http.ResponseWriter, r *http.Request) {
	var body struct {
		RefreshToken string `json:"refresh_token"`
		Organisation string `json:"organisation_uuid"`
		Workspace    string `json:"workspace_uuid"`
	}
	if !s.read(w, r, &body, "Failed to refresh token") {
		return
	}
	s.answer(w, body.Organisation, body.Workspace, "refresh", map[string]string{"refresh_token": body.RefreshToken})
}

// read decodes a body of any media type, as the Django listing does, which
// also switches Django's protection against cross-site requests off.
func (s *sample) read(w http.ResponseWriter, r *http.Request, v any, text string) bool {
	if s.key == "" {
		writeJSON(w, http.StatusInternalServerError, map[string]any{"error": "CMS API Key not configured"})
		return false
	}
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		s.fail(w, text, err)
		return false
	}
	return true
}

// answer calls the vendor and passes on what it says.
func (s *sample) answer(w http.ResponseWriter, organisation, workspace, verb string, body any) {
	text := "Failed to " + verb + " token"
	var answer struct {
		Detail struct {
			Token        string `json:"token"`
			RefreshToken string `json:"refresh_token"`
			ExpiresAt    string `json:"expires_at"`
		} `json:"detail"`
	}
	err := s.post(fmt.Sprintf("/consent/public/organisations/%s/workspaces/%s/tokens/%s",
		cmp.Or(organisation, "undefined"), cmp.Or(workspace, "undefined"), verb), body, &answer)
	if err != nil {
		s.fail(w, text, err)
		return
	}
	writeJSON(w, http.StatusOK, answer.Detail)
}

// post resolves path against the base URL as axios, httpx and requests do,
// dot segments and all.
func (s *sample) post(path string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	target, err := s.baseURL.Parse(path)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, target.String(), bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("X-CMS-API-Key", s.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, res.Body)
		return errors.New("the vendor answered " + res.Status)
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

func (s *sample) fail(w http.ResponseWriter, text string, err error) {
	s.log.Debug("documented sample: "+text, "err", err)
	writeJSON(w, http.StatusInternalServerError, map[string]any{"error": text})
}

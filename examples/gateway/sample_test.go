package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestSampleIsFaithful holds the port to what the vendor's Express listing
// does, its faults included.
func TestSampleIsFaithful(t *testing.T) {
	const pair = `{"detail":{"token":"t","refresh_token":"r","expires_at":"2026-01-16T10:30:00Z"}}`
	var asked string
	status := http.StatusOK
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = r.Method + " " + r.RequestURI + " " + r.Header.Get("X-CMS-API-Key") + " " + string(body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, pair)
	}))
	defer vendor.Close()
	base, err := url.Parse(vendor.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := &sample{key: "key", baseURL: base, client: vendor.Client(), log: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		name, path, body string
		vendorStatus     int
		wantAsked        string
		want             int
		wantBody         string
	}{
		{
			"generate", "/api/consent/token?organisation_uuid=o&workspace_uuid=w", `{"org_user_id":"ada"}`, 200,
			`POST /consent/public/organisations/o/workspaces/w/tokens/generate key {"org_user_id":"ada","expires_in_days":1}`,
			200, `{"token":"t","refresh_token":"r","expires_at":"2026-01-16T10:30:00Z"}`,
		},
		{
			"refresh", "/api/consent/refresh-token", `{"refresh_token":"r","organisation_uuid":"o","workspace_uuid":"w"}`, 200,
			`POST /consent/public/organisations/o/workspaces/w/tokens/refresh key {"refresh_token":"r"}`,
			200, `{"token":"t","refresh_token":"r","expires_at":"2026-01-16T10:30:00Z"}`,
		},
		{"nobody", "/api/consent/token", `{}`, 200, "", 400, `{"error":"At least one user identifier required"}`},
		{
			"no tenant", "/api/consent/token", `{"email":"a"}`, 404,
			`POST /consent/public/organisations/undefined/workspaces/undefined/tokens/generate key {"email":"a","expires_in_days":1}`,
			500, `{"error":"Failed to generate token"}`,
		},
		{
			"path traversal", "/api/consent/token?organisation_uuid=../../../admin/api-keys?x=&workspace_uuid=w", `{"mobile":"1"}`, 200,
			`POST /admin/api-keys?x=/workspaces/w/tokens/generate key {"mobile":"1","expires_in_days":1}`,
			200, `{"token":"t","refresh_token":"r","expires_at":"2026-01-16T10:30:00Z"}`,
		},
		{
			"vendor down", "/api/consent/refresh-token", `{"organisation_uuid":"o","workspace_uuid":"w"}`, 503,
			`POST /consent/public/organisations/o/workspaces/w/tokens/refresh key {"refresh_token":""}`,
			500, `{"error":"Failed to refresh token"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked, status = "", c.vendorStatus
			w := httptest.NewRecorder()
			s.handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.body)))
			if w.Code != c.want || strings.TrimSpace(w.Body.String()) != c.wantBody {
				t.Errorf("answered %d %s", w.Code, w.Body)
			}
			if asked != c.wantAsked {
				t.Errorf("asked the vendor %s", asked)
			}
		})
	}
}

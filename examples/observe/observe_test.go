package observe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/examples/observe"
	"github.com/bearerkit/bearerkit/middleware"
	"github.com/bearerkit/bearerkit/middleware/authtest"
	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache"
)

// vendor issues a token for an hour.
type vendor struct{}

func (vendor) Generate(context.Context, providers.Request) (providers.Token, error) {
	now := time.Now()
	return providers.Token{AccessToken: "secret", IssuedAt: now, Expiry: now.Add(time.Hour)}, nil
}

func page(r prometheus.Gatherer) string {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// lines of the page that begin with prefix and say more than 0.
func lines(r prometheus.Gatherer, prefix string) (found []string) {
	for line := range strings.Lines(page(r)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, prefix) && !strings.HasSuffix(line, " 0") {
			found = append(found, line)
		}
	}
	return found
}

// A /metrics page of what the token cache counts.
func ExampleCollector() {
	cache, err := tokencache.New(vendor{}, tokencache.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(observe.Collector{Caches: map[string]*tokencache.Cache{"kudo": cache}})
	for range 500 {
		_, _ = cache.Source(providers.Request{Subject: "ada"}).Token(context.Background())
	}
	_ = cache.Close(context.Background())
	for _, line := range lines(registry, "bearerkit_") {
		fmt.Println(line)
	}
	// Output:
	// bearerkit_cache_calls_total{cache="kudo"} 1
	// bearerkit_cache_entries{cache="kudo"} 1
	// bearerkit_cache_flights_total{cache="kudo"} 1
	// bearerkit_cache_hits_total{cache="kudo"} 499
}

// What an Observer is told, as counters and a histogram.
func ExampleNewEvents() {
	registry := prometheus.NewRegistry()
	events, err := observe.NewEvents(registry)
	if err != nil {
		fmt.Println(err)
		return
	}
	observer := events.Observer("redacto") // for tokencache.Options, middleware.Config, middleware.Transport, handlers.ProxyConfig
	observer(context.Background(), providers.Event{Source: "transport", Kind: "refused", Outcome: "rejected", N: 401})
	for _, line := range lines(registry, "bearerkit_events") {
		fmt.Println(line)
	}
	// Output:
	// bearerkit_events_total{code="401",kind="refused",op="",outcome="rejected",part="redacto",source="transport"} 1
}

func TestCollectorTellsOfTheAuthenticator(t *testing.T) {
	idp, err := authtest.New("ES256")
	require.NoError(t, err)
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: idp.URL, Audiences: []string{idp.Audience}, Algorithms: []string{"ES256"}, Discover: true, HTTPClient: idp.Client(),
	}}})
	require.NoError(t, err)
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(observe.Collector{Auth: auth}))
	require.Contains(t, lines(registry, "bearerkit_auth_key_sets"), "bearerkit_auth_key_sets_missing 1")
	token, err := idp.Token(nil)
	require.NoError(t, err)
	for range 3 {
		_, err := auth.Verify(t.Context(), token)
		require.NoError(t, err)
	}
	_, err = auth.Verify(t.Context(), "x")
	require.Error(t, err)
	require.Equal(t, []string{
		`bearerkit_auth_tokens_total{result="refused"} 1`,
		`bearerkit_auth_tokens_total{result="remembered"} 2`,
		`bearerkit_auth_tokens_total{result="verified"} 1`,
	}, lines(registry, "bearerkit_auth_tokens"))
	require.Empty(t, lines(registry, "bearerkit_auth_key_sets_missing"))
	require.NotContains(t, page(registry), token)
}

func TestEventsRegisterOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, err := observe.NewEvents(registry)
	require.NoError(t, err)
	_, err = observe.NewEvents(registry)
	require.Error(t, err)
}

// Every metric that the dashboard, the alerts and the document name exists, with
// the labels that they use.
func TestDocumentAndDashboardNameWhatThereIs(t *testing.T) {
	cache, err := tokencache.New(vendor{}, tokencache.Options{})
	require.NoError(t, err)
	defer func() { _ = cache.Close(context.Background()) }()
	idp, err := authtest.New("ES256")
	require.NoError(t, err)
	auth, err := middleware.New(middleware.Config{Issuers: []middleware.Issuer{{
		Issuer: idp.URL, Audiences: []string{idp.Audience}, Algorithms: []string{"ES256"}, Keys: idp.PublicKeys(),
	}}})
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	registry.MustRegister(observe.Collector{Auth: auth, Caches: map[string]*tokencache.Cache{"x": cache}})
	events, err := observe.NewEvents(registry)
	require.NoError(t, err)
	events.Observer("x")(t.Context(), providers.Event{Duration: time.Second})
	there := page(registry)

	dashboard, err := os.ReadFile("../../docs/grafana-dashboard.json")
	require.NoError(t, err)
	var parsed struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(dashboard, &parsed))
	require.Len(t, parsed.Panels, 12)
	document, err := os.ReadFile("../../docs/observing.md")
	require.NoError(t, err)
	_, alerts, _ := strings.Cut(string(document), "```yaml\n")
	alerts, _, _ = strings.Cut(alerts, "```")
	require.Equal(t, 6, strings.Count(alerts, "- alert: "))
	require.Equal(t, 6, strings.Count(alerts, "expr: "))
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(alerts, -1) {
		require.Contains(t, string(document), "| "+m[1]+" |", "what to do")
	}
	queries := alerts
	for _, p := range parsed.Panels {
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			queries += "\n" + target.Expr
		}
	}
	for _, name := range regexp.MustCompile(`bearerkit_\w+`).FindAllString(queries+string(document), -1) {
		require.Contains(t, there, "\n"+name, "a metric that does not exist")
	}
	for _, m := range regexp.MustCompile(`(bearerkit_\w+)\{([^}]*)\}`).FindAllStringSubmatch(queries, -1) {
		for _, label := range regexp.MustCompile(`(\w+)[=!]~?"`).FindAllStringSubmatch(m[2], -1) {
			if label[1] != "instance" {
				require.Regexp(t, m[1]+`\{[^}]*`+label[1]+`=`, there)
			}
		}
	}
}

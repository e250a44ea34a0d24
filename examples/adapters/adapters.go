// Package adapters shows the Authenticator in front of four routers. Each
// function returns the same small API: GET /me answers with the caller's
// subject, GET /events streams, and GET /socket takes the connection over.
package adapters

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	"github.com/bearerkit/bearerkit/middleware"
)

// ServeMux needs nothing: an Authenticator wraps an http.Handler.
func ServeMux(auth *middleware.Authenticator) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /me", auth.Handler(http.HandlerFunc(me)))
	mux.Handle("GET /events", auth.Handler(http.HandlerFunc(events)))
	mux.Handle("GET /socket", auth.Handler(http.HandlerFunc(socket)))
	return mux
}

// Chi takes auth.Handler as it is.
func Chi(auth *middleware.Authenticator) http.Handler {
	r := chi.NewRouter()
	r.Use(auth.Handler)
	r.Get("/me", me)
	r.Get("/events", events)
	r.Get("/socket", socket)
	return r
}

// Echo has the bridge built in.
func Echo(auth *middleware.Authenticator) http.Handler {
	e := echo.New()
	e.Use(echo.WrapMiddleware(auth.Handler))
	e.GET("/me", echo.WrapHandler(http.HandlerFunc(me)))
	e.GET("/events", echo.WrapHandler(http.HandlerFunc(events)))
	e.GET("/socket", echo.WrapHandler(http.HandlerFunc(socket)))
	return e
}

// Gin needs GinBridge: gin.WrapH calls a handler but drops the request that it
// passes on, and with it the verified token in the request's context.
func Gin(auth *middleware.Authenticator) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.Use(GinBridge(auth.Handler))
	g.GET("/me", gin.WrapF(me))
	g.GET("/events", gin.WrapF(events))
	g.GET("/socket", gin.WrapF(socket))
	return g
}

// GinBridge makes gin middleware of net/http middleware.
func GinBridge(wrap func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort()
		}
	}
}

func me(w http.ResponseWriter, r *http.Request) {
	subject, _ := middleware.Subject(r.Context())
	_, _ = w.Write([]byte(subject))
}

// events sends one event and keeps the stream open until the client leaves.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = w.Write([]byte("data: hello\n\n"))
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	<-r.Context().Done()
}

// socket upgrades as a WebSocket library does: it takes the connection over.
func socket(w http.ResponseWriter, _ *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
	_ = rw.Flush()
}

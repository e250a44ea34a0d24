package redisstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokencache"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options are optional.
type Options struct {
	// Prefix begins the name of every key and channel; "" means "bearerkit:".
	// It separates deployments that share a server. Caches of one deployment
	// share a Store; [tokencache.Options].Namespace separates them.
	Prefix string
	// TLS is for a private authority or client certificates, with rediss://
	// only. nil means the system's roots, and the URL's host as the server's
	// name.
	TLS *tls.Config
	// Replicas is how many replicas must have a write before [Store.CAS]
	// returns, by WAIT. 0 means none: a failover may lose the last writes. If
	// it is the number of all replicas of a master, no replica is promoted
	// without the writes. It costs a round trip between the servers for each
	// write. If fewer replicas follow, every write is an error: grants that
	// spend a refresh token (Rotating and Exclusive) then fail closed.
	Replicas int
}

// Store is a [tokencache.Store], [tokencache.Locker], [tokencache.Watcher] and
// [tokencache.Epocher] over Redis. [Open] or [New] makes it. Use one per
// process. It is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient
	own     bool // Close closes client
	prefix  string
	watches watches

	replicas int
	doubts   doubts
}

var (
	_ tokencache.Store   = (*Store)(nil)
	_ tokencache.Locker  = (*Store)(nil)
	_ tokencache.Watcher = (*Store)(nil)
	_ tokencache.Epocher = (*Store)(nil)
)

// Open returns a Store over the one server at address:
//
//	redis://user:password@host:port/database
//	rediss://…                                over TLS
//	unix://user:password@/path/to/socket?db=0
//
// The query may set protocol, dial_timeout, read_timeout, write_timeout,
// max_idle_conns, min_idle_conns, max_active_conns, max_concurrent_dials, and
// names that begin with pool_ or conn_max_, as go-redis reads them. Options for
// retries are refused, because the cache retries. Without dial_timeout a
// connection is tried for a second. Every call ends with its context, whatever
// the timeouts are.
//
// Open does not connect: a Store can be used as soon as its server can. The
// error never repeats the address, which contains a password.
func Open(address string, o Options) (*Store, error) {
	c, err := redis.ParseURL(address)
	if err != nil {
		// go-redis and net/url quote what they cannot parse.
		return nil, errors.New("redisstore: address: must be redis://, rediss:// or unix://, with user:password percent-encoded, one number as the database and go-redis's options as the query")
	}
	if c.TLSConfig != nil && c.TLSConfig.InsecureSkipVerify {
		return nil, errors.New("redisstore: address: skip_verify lets anybody read the tokens; set Options.TLS to trust a private authority")
	}
	if name := refusedOption(address); name != "" {
		return nil, fmt.Errorf("redisstore: address: %s cannot be set: see the documentation of Open", name)
	}
	if o.TLS != nil {
		if c.TLSConfig == nil {
			return nil, errors.New("redisstore: Options.TLS: only with rediss://")
		}
		host := c.TLSConfig.ServerName
		c.TLSConfig = o.TLS.Clone()
		c.TLSConfig.ServerName = cmp.Or(c.TLSConfig.ServerName, host)
	}
	c.ContextTimeoutEnabled = true
	c.MaxRetries = -1 // tokencache knows which calls bear repetition
	c.DialerRetries = 1
	if u, err := url.Parse(address); err == nil && !u.Query().Has("dial_timeout") {
		c.DialTimeout = time.Second
	}
	c.DisableIdentity = true // saves a command that an ACL would have to allow
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	s, err := New(redis.NewClient(c), Options{Prefix: o.Prefix, Replicas: o.Replicas})
	if err == nil {
		s.own = true
	}
	return s, err
}

// refusedOption returns an option of the address's query that Open sets itself,
// or that needs commands which the documented ACL does not allow.
func refusedOption(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	for _, name := range []string{"max_retries", "min_retry_backoff", "max_retry_backoff", "client_name"} {
		if u.Query().Has(name) {
			return name
		}
	}
	return ""
}

// New returns a Store over the caller's client: a *redis.Client, also one of
// redis.NewFailoverClient for Sentinel, or a *redis.ClusterClient. Close leaves
// the client open. ContextTimeoutEnabled must be set; otherwise a frozen server
// would block callers for seconds. Reads must go to masters.
func New(client redis.UniversalClient, o Options) (*Store, error) {
	var errs []error
	fault := func(text string) { errs = append(errs, errors.New("redisstore: "+text)) }
	punctual := true
	switch c := client.(type) {
	case *redis.Client:
		punctual = c != nil && c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		if c != nil {
			punctual = c.Options().ContextTimeoutEnabled
			if c.Options().ReadOnly {
				fault("client: ReadOnly, RouteByLatency and RouteRandomly read what a master has already replaced")
			}
		} else {
			punctual = false
		}
	default:
		fault("client: must be a *redis.Client or a *redis.ClusterClient")
	}
	if !punctual {
		fault("client: must not be nil, and must have ContextTimeoutEnabled")
	}
	if o.TLS != nil {
		fault("Options.TLS: only with Open; the client has its own")
	}
	if o.Replicas < 0 {
		fault("Options.Replicas: negative")
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	_, cluster := client.(*redis.ClusterClient)
	s := &Store{
		client: client, prefix: cmp.Or(o.Prefix, "bearerkit:"), replicas: o.Replicas,
		doubts: doubts{oneServer: !cluster, underWay: map[string]int{}, failed: map[string]uint64{}},
	}
	s.watches.init(client)
	return s, nil
}

// Close ends all watches and, after [Open], closes the connections. Close the
// caches first, because they have writes to finish.
func (s *Store) Close() error {
	s.watches.close()
	if s.own {
		return s.client.Close()
	}
	return nil
}

// Format writes a fixed text for every verb, because a Store holds a password.
func (*Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "redisstore.Store") }

// name is the key of a value and the channel for its changes. In a cluster the
// braces put a value and its lease on one node, so that they are lost together
// or not at all.
func (s *Store) name(key string) string { return s.prefix + "{" + key + "}" }

func (s *Store) leaseName(key string) string { return s.name(key) + ":lease" }

// failed returns err without what a server may quote. In a cluster, an error
// may mean that a master has died. go-redis looks for the successor once a
// minute; failed makes it look at once.
func (s *Store) failed(ctx context.Context, op string, err error) error {
	if c, ok := s.client.(*redis.ClusterClient); ok && err != nil {
		c.ReloadState(ctx) // in the background, five times a second at most
	}
	return explained(ctx, op, err)
}

// explained returns err without what a server may quote of the call. Only the
// code of a server's error is kept, such as NOPERM, OOM or READONLY.
func explained(ctx context.Context, op string, err error) error {
	var refused redis.Error
	var timed net.Error
	_, bounded := ctx.Deadline()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("redisstore: %s: %w", op, ctx.Err())
	case bounded && errors.As(err, &timed) && timed.Timeout(): // a moment before ctx itself
		return fmt.Errorf("redisstore: %s: %w", op, context.DeadlineExceeded)
	case errors.As(err, &refused):
		code, _, _ := strings.Cut(refused.Error(), " ")
		return fmt.Errorf("redisstore: %s: the server answered %s", op, strings.Trim(code, ":"))
	}
	return fmt.Errorf("redisstore: %s: %w", op, err)
}

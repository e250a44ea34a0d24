package record_test

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bearerkit/bearerkit/providers"
	"github.com/bearerkit/bearerkit/tokencache/internal/record"
)

var (
	now     = time.Unix(1_800_000_000, 0)
	current = record.Digest{1}
	older   = record.Digest{2}
	unknown = record.Digest{3}

	busy = &providers.Error{Code: providers.CodeBusy, Class: providers.Transient}
)

// pair is a record whose token was issued ago before now and lives an hour.
func pair(ago time.Duration) record.Record {
	at := now.Add(-ago)
	return record.Record{Details: record.Details{Version: 7}, Token: providers.Token{
		AccessToken: "at", RefreshToken: "rt", IssuedAt: at, Expiry: at.Add(time.Hour), Version: 7,
	}}
}

func with(r record.Record, change func(*record.Record)) record.Record {
	change(&r)
	return r
}

// TestDecide is the whole decision of the cache: each row is a record, a wish
// and the step that follows.
func TestDecide(t *testing.T) {
	failing := func(r *record.Record) {
		r.Failure = &record.Failure{Err: busy, N: 1, At: now.Add(-time.Second), Wait: 3 * time.Second}
	}
	failed := func(r *record.Record) {
		r.Failure = &record.Failure{Err: busy, N: 1, At: now.Add(-4 * time.Second), Wait: 3 * time.Second}
	}
	noRefreshToken := func(r *record.Record) { r.Token.RefreshToken = "" }
	spent := func(ago time.Duration) func(*record.Record) {
		return func(r *record.Record) { r.Spent = []record.Spent{{Token: older, At: now.Add(-ago)}} }
	}
	wantCurrent := record.Want{Kind: record.Current}
	wantNewer := record.Want{Kind: record.Current, After: 7}
	wantForced := record.Want{Kind: record.Current, After: 7, Forced: true}
	wantRefused := record.Want{Kind: record.Current, After: 7, Forced: true, RefreshRefused: true}
	present := record.Want{Kind: record.Refresh, RefreshToken: "rt", Digest: current}
	presentOlder := record.Want{Kind: record.Refresh, RefreshToken: "rt-0", Digest: older}
	presentUnknown := record.Want{Kind: record.Refresh, RefreshToken: "rt-x", Digest: unknown}
	presentClaimed := record.Want{Kind: record.Refresh, RefreshToken: "rt-x", Digest: unknown, Unknown: true}

	const yes, no = true, false
	for _, tt := range []struct {
		name    string
		record  record.Record
		want    record.Want
		age     record.Age
		refresh bool // the provider can
		step    record.Step
		token   string // the refresh token that is spent
	}{
		// States: fresh, stale, over.
		{"nothing known", record.Record{}, wantCurrent, record.Over, yes, record.CallGenerate, ""},
		{"fresh", pair(0), wantCurrent, record.Fresh, yes, record.Serve, ""},
		{"stale", pair(0), wantCurrent, record.Stale, yes, record.ServeAndRenew, ""},
		{"stale, renewal failed", with(pair(0), failing), wantCurrent, record.Stale, yes, record.Serve, ""},
		{"stale, window over", with(pair(0), failed), wantCurrent, record.Stale, yes, record.ServeAndRenew, ""},
		{"over", pair(2 * time.Hour), wantCurrent, record.Over, yes, record.CallRefresh, "rt"},
		{"over, provider cannot refresh", pair(2 * time.Hour), wantCurrent, record.Over, no, record.CallGenerate, ""},
		{"over, no refresh token", with(pair(2*time.Hour), noRefreshToken), wantCurrent, record.Over, yes, record.CallGenerate, ""},
		{"over, refresh token over", with(pair(2*time.Hour), func(r *record.Record) { r.Token.RefreshExpiry = now }), wantCurrent, record.Over, yes, record.CallGenerate, ""},
		{"over, refresh token alive", with(pair(2*time.Hour), func(r *record.Record) { r.Token.RefreshExpiry = now.Add(1) }), wantCurrent, record.Over, yes, record.CallRefresh, "rt"},
		{"over, failing", with(pair(2*time.Hour), failing), wantCurrent, record.Over, yes, record.FailFast, ""},
		{"over, window over", with(pair(2*time.Hour), failed), wantCurrent, record.Over, yes, record.CallRefresh, "rt"},
		{"nothing known, failing", with(record.Record{}, failing), wantCurrent, record.Over, yes, record.FailFast, ""},
		{"failing, clock set back", with(record.Record{}, func(r *record.Record) { failing(r); r.Failure.At = now.Add(time.Second) }), wantCurrent, record.Over, yes, record.CallGenerate, ""},

		// Renewals: a version was refused.
		{"refused is current", pair(0), wantNewer, record.Fresh, yes, record.CallRefresh, "rt"},
		{"refused is older", with(pair(0), func(r *record.Record) { r.Token.Version = 8 }), wantNewer, record.Fresh, yes, record.Serve, ""},
		{"refused is older and stale", with(pair(0), func(r *record.Record) { r.Token.Version = 8 }), wantForced, record.Stale, yes, record.Serve, ""},
		{"forced", pair(0), wantForced, record.Fresh, yes, record.CallRefresh, "rt"},
		{"forced within the floor", with(pair(0), func(r *record.Record) { r.Forced = now.Add(-4 * time.Second) }), wantForced, record.Fresh, yes, record.Serve, ""},
		{"forced at the floor", with(pair(0), func(r *record.Record) { r.Forced = now.Add(-5 * time.Second) }), wantForced, record.Fresh, yes, record.CallRefresh, "rt"},
		{"forced within the floor, clock set back", with(pair(0), func(r *record.Record) { r.Forced = now.Add(4 * time.Second) }), wantForced, record.Fresh, yes, record.Serve, ""},
		{"forced beyond the floor, clock set back", with(pair(0), func(r *record.Record) { r.Forced = now.Add(time.Hour) }), wantForced, record.Fresh, yes, record.CallRefresh, "rt"},
		{"not forced within the floor", with(pair(0), func(r *record.Record) { r.Forced = now }), wantNewer, record.Fresh, yes, record.CallRefresh, "rt"},
		{"forced within the floor, over", with(pair(2*time.Hour), func(r *record.Record) { r.Forced = now }), wantForced, record.Over, yes, record.CallRefresh, "rt"},
		{"forced, failing", with(pair(0), failing), wantForced, record.Fresh, yes, record.FailFast, ""},
		{"forced, refresh was refused", pair(0), wantRefused, record.Fresh, yes, record.CallGenerate, ""},

		// Refresh: a refresh token is presented.
		{"current refresh token", pair(0), present, record.Fresh, yes, record.CallRefresh, "rt"},
		{"current refresh token, over", pair(2 * time.Hour), present, record.Over, yes, record.CallRefresh, "rt"},
		{"current refresh token, failing", with(pair(0), failing), present, record.Fresh, yes, record.FailFast, ""},
		{"spent within grace", with(pair(0), spent(59*time.Second)), presentOlder, record.Fresh, yes, record.Serve, ""},
		{"spent within grace, failing", with(with(pair(0), spent(59*time.Second)), failing), presentOlder, record.Fresh, yes, record.Serve, ""},
		{"spent within grace, clocks apart", with(pair(0), spent(-59*time.Second)), presentOlder, record.Fresh, yes, record.Serve, ""},
		{"spent, clock set back an hour", with(pair(0), spent(-time.Hour)), presentOlder, record.Fresh, yes, record.Reject, ""},
		{"spent within grace, successor over", with(pair(2*time.Hour), spent(59*time.Second)), presentOlder, record.Over, yes, record.CallRefresh, "rt"},
		{"spent within grace, successor dead", with(with(pair(2*time.Hour), spent(59*time.Second)), noRefreshToken), presentOlder, record.Over, yes, record.Reject, ""},
		{"spent at the end of grace", with(pair(0), spent(time.Minute)), presentOlder, record.Fresh, yes, record.Reject, ""},
		{"not ours", pair(0), presentUnknown, record.Fresh, yes, record.Reject, ""},
		{"never seen", pair(0), presentClaimed, record.Fresh, yes, record.CallRefresh, "rt-x"},
		{"never seen, failing", with(pair(0), failing), presentClaimed, record.Fresh, yes, record.FailFast, ""},
		{"never seen, nothing known", record.Record{}, presentUnknown, record.Over, yes, record.CallRefresh, "rt-x"},
		{"ended by a sign-out", record.Record{Details: record.Details{Version: 9, Purges: 1, Ended: []record.Digest{unknown}}}, presentClaimed, record.Over, yes, record.Reject, ""},
		{"never seen, after a sign-out", record.Record{Details: record.Details{Version: 9, Purges: 1, Ended: []record.Digest{older}}}, presentClaimed, record.Over, yes, record.CallRefresh, "rt-x"},

		// The others.
		{"adopt", pair(0), record.Want{Kind: record.Adopt}, record.Fresh, yes, record.Install, ""},
		{"adopt while failing", with(pair(0), failing), record.Want{Kind: record.Adopt}, record.Fresh, yes, record.Install, ""},
		{"read", pair(0), record.Want{Kind: record.Read}, record.Fresh, yes, record.Done, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, mode := range []providers.Mode{providers.Shared, providers.Rotating, providers.Exclusive} {
				rules := record.Rules{Mode: mode, CanRefresh: tt.refresh, Grace: time.Minute, ForcedFloor: 5 * time.Second}
				a := record.Decide(&tt.record, &tt.want, tt.age, now, &rules)
				assert.Equal(t, tt.step, a.Step, mode)
				assert.Equal(t, tt.token, a.RefreshToken, mode)
				assert.Equal(t, tt.step == record.FailFast, a.Err != nil)
				if a.Err != nil {
					assert.Equal(t, 2*time.Second, a.Err.RetryAfter, "the rest of the window")
					assert.Zero(t, busy.RetryAfter, "the recorded error is not changed")
				}
				assert.Equal(t, tt.step == record.CallRefresh || tt.step == record.CallGenerate, a.Upstream())
			}
		})
	}
}

// TestServeUntilAndRenewFrom: the states' deadlines.
func TestServeUntilAndRenewFrom(t *testing.T) {
	for _, tt := range []struct {
		life        time.Duration
		serve       time.Duration
		from, until time.Duration // of RenewFrom
	}{
		{time.Second, 900 * time.Millisecond, 600 * time.Millisecond, 700 * time.Millisecond},
		{time.Minute, 54 * time.Second, 36 * time.Second, 42 * time.Second},
		{100 * time.Second, 90 * time.Second, 60 * time.Second, 70 * time.Second},
		{time.Hour, 3590 * time.Second, 3590*time.Second - 450*time.Second, 3590*time.Second - 300*time.Second},
	} {
		r := record.Record{Token: providers.Token{AccessToken: "at", IssuedAt: now, Expiry: now.Add(tt.life)}}
		assert.Equal(t, tt.serve, record.ServeUntil(&r.Token).Sub(now))
		assert.Equal(t, tt.until, record.RenewFrom(&r, providers.Rotating, 0).Sub(now))
		assert.InDelta(t, tt.from, record.RenewFrom(&r, providers.Shared, .9999999).Sub(now), float64(time.Millisecond))
		assert.Equal(t, tt.serve, record.RenewFrom(&r, providers.Exclusive, .5).Sub(now))
		r.Bound = true
		assert.Equal(t, tt.serve, record.RenewFrom(&r, providers.Shared, .5).Sub(now))
	}
	endless := record.Record{Token: providers.Token{AccessToken: "at", IssuedAt: now}}
	assert.True(t, record.ServeUntil(&endless.Token).After(now.Add(100*365*24*time.Hour)))
	assert.Equal(t, record.ServeUntil(&endless.Token), record.RenewFrom(&endless, providers.Shared, .5))
}

func TestBind(t *testing.T) {
	tok := providers.Token{AccessToken: "at", RefreshToken: "rt", RefreshExpiry: now, Expiry: now.Add(time.Hour)}
	for _, tt := range []struct {
		assertion, end time.Time
		keep           bool
	}{
		{now.Add(time.Minute), now.Add(time.Minute), true},
		{now.Add(2 * time.Hour), now.Add(time.Hour), true},
		{time.Time{}, now.Add(5 * time.Minute), true},
		{now.Add(-time.Second), now.Add(-time.Second), false},
		{now, now, false},
	} {
		bound, keep := record.Bind(tok, &providers.Request{Assertion: providers.Assertion{Token: "a", Expiry: tt.assertion}}, now)
		assert.Equal(t, tt.end, bound.Expiry)
		assert.Equal(t, tt.keep, keep)
		assert.Empty(t, bound.RefreshToken)
		assert.True(t, bound.RefreshExpiry.IsZero())
	}
	tok.Expiry = time.Time{}
	bound, _ := record.Bind(tok, &providers.Request{Assertion: providers.Assertion{Token: "a", Expiry: now.Add(time.Hour)}}, now)
	assert.Equal(t, now.Add(time.Hour), bound.Expiry)
}

// TestFailClasses: how long a class of error makes a grant fail fast, and what
// becomes of the intent.
func TestFailClasses(t *testing.T) {
	for _, tt := range []struct {
		class      providers.Class
		retryAfter time.Duration
		failures   int // before this one
		wait       time.Duration
		ended      bool // the intent stays, for its outcome is unknown
	}{
		{providers.Transient, 0, 0, time.Second, false},
		{providers.Transient, 0, 1, 2 * time.Second, false},
		{providers.Transient, 0, 4, 16 * time.Second, false},
		{providers.Transient, 0, 5, 30 * time.Second, false},
		{providers.Transient, 0, 99, 30 * time.Second, false},
		{providers.InDoubt, 0, 0, time.Second, true},
		{providers.Permanent, 0, 0, 30 * time.Second, false},
		{providers.Transient, 7 * time.Second, 3, 7 * time.Second, false},
		{providers.Permanent, 90 * time.Minute, 0, time.Hour, false},
	} {
		r := record.Record{Details: record.Details{Version: 3, Intent: &record.Intent{Owner: "me", At: now}}}
		if tt.failures > 0 {
			r.Failure = &record.Failure{Err: busy, N: tt.failures}
		}
		err := &providers.Error{Class: tt.class, RetryAfter: tt.retryAfter}
		next := r.Fail(record.Fault{Err: err}, "me", now)
		require.NotNil(t, next.Failure)
		assert.Equal(t, tt.wait, next.Failure.Wait, "%v", tt)
		assert.Equal(t, tt.failures+1, next.Failure.N)
		assert.Equal(t, now, next.Failure.At)
		if tt.ended {
			assert.Equal(t, &record.Intent{Owner: "me", At: now, Ended: true}, next.Intent)
		} else {
			assert.Nil(t, next.Intent)
		}
		assert.Equal(t, r.Version, next.Version)

		if jittered := r.Fail(record.Fault{Err: err, Jitter: .5}, "me", now); tt.class != providers.Permanent && tt.retryAfter == 0 {
			assert.Equal(t, tt.wait-tt.wait/8, jittered.Failure.Wait, "a quarter at most")
		}
	}
}

func TestTheWindowEndsBeforeTheTokenDoes(t *testing.T) {
	r := pair(time.Hour - 12*time.Second) // served for two seconds more
	assert.Equal(t, time.Second, r.Fail(record.Fault{Err: &providers.Error{Class: providers.Permanent}}, "", now).Failure.Wait)
	r = pair(time.Hour - 10*time.Second - 10*time.Millisecond)
	assert.Equal(t, 50*time.Millisecond, r.Fail(record.Fault{Err: busy}, "", now).Failure.Wait, "no shorter")
	r = pair(time.Hour - 12*time.Second)
	assert.Equal(t, 9*time.Second, r.Fail(record.Fault{Err: &providers.Error{RetryAfter: 9 * time.Second}}, "", now).Failure.Wait, "Retry-After wins")
}

func TestDie(t *testing.T) {
	r := pair(0)
	r.Intent, r.Brought = &record.Intent{Owner: "me"}, true
	rotating := r.Die("rt", providers.Rotating)
	assert.Equal(t, "at", rotating.Token.AccessToken, "the access token may still be good")
	assert.Empty(t, rotating.Token.RefreshToken)
	assert.Nil(t, rotating.Intent)
	assert.False(t, rotating.Brought)
	exclusive := r.Die("rt", providers.Exclusive)
	assert.True(t, exclusive.Empty(), "the pair dies together")
	assert.False(t, exclusive.Brought)
	assert.Equal(t, r.Version, exclusive.Version)
	other := r.Die("another", providers.Exclusive)
	assert.Equal(t, r.Token, other.Token, "not ours to end")
	assert.Nil(t, other.Intent)
}

func TestSucceed(t *testing.T) {
	r := pair(time.Minute)
	r.Failure, r.Intent, r.Salvages = &record.Failure{Err: busy}, &record.Intent{}, 2
	next := r.Succeed(record.Success{Token: providers.Token{AccessToken: "at-2"}, Replaced: []record.Digest{current}, Forced: true, Brought: true, Tenant: "t", Anonymous: true}, now)
	assert.Equal(t, uint64(now.UnixMilli()), next.Version)
	assert.Equal(t, next.Version, next.Token.Version)
	assert.Equal(t, now, next.Forced)
	assert.Equal(t, []record.Spent{{Token: current, At: now}}, next.Spent)
	assert.Nil(t, next.Failure)
	assert.Nil(t, next.Intent)
	assert.Zero(t, next.Salvages)
	assert.True(t, next.Brought)
	assert.Equal(t, "t", next.Tenant)
	assert.True(t, next.Anonymous)

	again := next.Succeed(record.Success{Token: providers.Token{AccessToken: "at-3"}}, now.Add(-time.Hour))
	assert.Equal(t, next.Version+1, again.Version, "versions rise when the clock is set back")
	assert.Equal(t, now, again.Forced, "the last forced renewal")
	kept := r.Succeed(record.Success{Version: next.Version}, now.Add(time.Second))
	assert.Equal(t, next.Version, kept.Version, "a second try keeps its version")
	assert.Greater(t, next.Succeed(record.Success{Version: 5}, now).Version, next.Version, "unless it is behind")
}

func TestSpentTokensAreBounded(t *testing.T) {
	r := record.Record{}
	for i := range 1000 {
		r = r.Succeed(record.Success{Replaced: []record.Digest{{byte(i), byte(i >> 8)}}}, now.Add(time.Duration(i)*time.Second))
	}
	require.Len(t, r.Spent, record.MaxSpent)
	assert.Equal(t, record.Digest{999 & 255, 999 >> 8}, r.Spent[record.MaxSpent-1].Token, "the oldest go first")
	r = r.Succeed(record.Success{Replaced: []record.Digest{current}}, now.Add(25*time.Hour))
	assert.Len(t, r.Spent, 1, "a day at most")
}

func TestSalvage(t *testing.T) {
	fault := record.Fault{Err: &providers.Error{Code: providers.CodeBadResponse}}
	s := record.Success{Token: providers.Token{RefreshToken: "rt-2"}, Replaced: []record.Digest{current}}
	r := pair(0).Salvage(s, providers.Rotating, fault, now)
	assert.Equal(t, "rt-2", r.Token.RefreshToken)
	assert.Equal(t, "at", r.Token.AccessToken)
	assert.Greater(t, r.Version, uint64(7))
	assert.True(t, r.SpentWithin(current, time.Minute, now))
	assert.Empty(t, pair(0).Salvage(s, providers.Exclusive, fault, now).Token.AccessToken, "a new pair ended it")
	assert.Less(t, r.Failure.Wait, time.Minute)
	r = r.Salvage(s, providers.Rotating, fault, now).Salvage(s, providers.Rotating, fault, now)
	assert.True(t, r.SalvagedTooOften())
	assert.Equal(t, 24*time.Hour, r.Failure.Wait)
}

func TestPurge(t *testing.T) {
	const year = 365 * 24 * time.Hour
	r := pair(0)
	r.Fence, r.Intent, r.Forced, r.Failure, r.Tenant = 5, &record.Intent{Owner: "x"}, now, &record.Failure{Err: busy}, "t"
	r.Spent = []record.Spent{{Token: older, At: now}}
	p := r.Purge(current, now, year)
	assert.True(t, p.Empty())
	assert.Equal(t, uint64(1), p.Purges)
	assert.Greater(t, p.Version, r.Version)
	assert.Equal(t, uint64(5), p.Fence)
	assert.Equal(t, r.Intent, p.Intent, "a call may be under way")
	assert.Empty(t, p.Spent)
	assert.Nil(t, p.Failure)
	assert.True(t, p.Forced.IsZero())
	assert.Equal(t, []record.Digest{older, current}, p.Ended)
	assert.Equal(t, now.Add(year), p.Ends)
	assert.Equal(t, "t", p.Tenant)

	r.Token.RefreshExpiry = now.Add(90 * 24 * time.Hour)
	assert.Equal(t, r.Token.RefreshExpiry, r.Purge(current, now, time.Hour).Ends)
	r.Token.RefreshToken = ""
	assert.Equal(t, now.Add(24*time.Hour), r.Purge(current, now, year).Ends, "a day at least")
	twice := p.Purge(unknown, now, time.Hour)
	assert.Equal(t, p.Ends, twice.Ends, "no shorter than before")
	assert.Equal(t, p.Ended, twice.Ended)
	for i := range 20 {
		p.Token.RefreshToken = "rt"
		p = p.Purge(record.Digest{9, byte(i)}, now, year)
	}
	assert.Len(t, p.Ended, 8)
}

func TestTTL(t *testing.T) {
	const year = 365 * 24 * time.Hour
	r := pair(0)
	assert.Equal(t, year+time.Hour, r.TTL(now, year), "a refresh token without an expiry")
	r.Token.RefreshExpiry = now.Add(48 * time.Hour)
	assert.Equal(t, 49*time.Hour, r.TTL(now, year))
	r.Token.RefreshToken = ""
	assert.Equal(t, 2*time.Hour, r.TTL(now, year), "an access token alone")
	r.Spent = []record.Spent{{Token: older, At: now}}
	assert.Equal(t, 25*time.Hour, r.TTL(now, year))
	signedOut := pair(0).Purge(current, now, year)
	assert.Equal(t, year+time.Hour, signedOut.TTL(now, year), "a sign-out as long as what it ended")
	assert.Equal(t, time.Second, new(record.Record).TTL(now, year), "junk leaves nothing")
	junk := record.Record{Details: record.Details{Intent: &record.Intent{At: now}}}
	assert.Equal(t, time.Hour, junk.TTL(now, year))
	assert.Equal(t, 3*time.Second, (&record.Record{Details: record.Details{Failure: &record.Failure{Err: busy, At: now, Wait: 2 * time.Second}}}).TTL(now, year))
	dead := pair(0).Die("rt", providers.Exclusive)
	assert.Equal(t, 25*time.Hour, dead.TTL(now, year))
	endless := record.Record{Details: record.Details{Version: 1}, Token: providers.Token{AccessToken: "at"}}
	assert.Equal(t, year+time.Hour, endless.TTL(now, year))
}

func TestNormalize(t *testing.T) {
	sent := now.Add(-time.Second)
	tok := record.Normalize(providers.Token{AccessToken: "at", RefreshToken: "rt"}, sent, now, time.Minute, false)
	assert.Equal(t, sent, tok.IssuedAt)
	assert.Equal(t, sent.Add(time.Minute), tok.Expiry)
	assert.Equal(t, "Bearer", tok.TokenType)
	assert.True(t, record.Normalize(providers.Token{AccessToken: "at"}, sent, now, time.Minute, false).Expiry.IsZero())
	assert.False(t, record.Normalize(providers.Token{AccessToken: "at"}, sent, now, time.Minute, true).Expiry.IsZero())
	far := record.Normalize(providers.Token{AccessToken: "at", Expiry: now.Add(1e6 * time.Hour), IssuedAt: now.Add(time.Hour), TokenType: "bearer"}, sent, now, time.Minute, false)
	assert.Equal(t, now.Add(365*24*time.Hour), far.Expiry)
	assert.Equal(t, sent, far.IssuedAt, "not issued in the future")
	assert.Equal(t, "bearer", far.TokenType)
}

// TestReconcile: what the Store says and what the process knows.
func TestReconcile(t *testing.T) {
	at := func(version uint64) record.Record {
		r := pair(0)
		r.Version, r.Token.Version, r.Token.AccessToken = version, version, fmt.Sprint("at-", version)
		return r
	}
	signedOut := func(version, purges uint64) record.Record {
		return record.Record{Details: record.Details{Version: version, Purges: purges, Ended: []record.Digest{current}}}
	}
	outdated := record.Record{Details: record.Details{Version: 9}}
	for _, tt := range []struct {
		name       string
		store, own record.Record
		mode       providers.Mode
		token      string
		version    uint64
		purges     uint64
		change     record.Change
		lostIntent bool
	}{
		{"both empty", record.Record{}, record.Record{}, providers.Rotating, "", 0, 0, record.Change{}, false},
		{"store newer", at(9), at(7), providers.Rotating, "at-9", 9, 0, record.Change{Adopted: true}, false},
		{"same", at(7), at(7), providers.Rotating, "at-7", 7, 0, record.Change{}, false},
		{"nothing known here", at(7), record.Record{}, providers.Exclusive, "at-7", 7, 0, record.Change{Adopted: true}, false},
		{"store emptied", record.Record{}, at(7), providers.Rotating, "at-7", 7, 0, record.Change{Lost: true}, true},
		{"store rolled back", at(5), at(7), providers.Exclusive, "at-7", 7, 0, record.Change{Lost: true}, true},
		{"store emptied, shared", record.Record{}, at(7), providers.Shared, "at-7", 7, 0, record.Change{}, false},
		{"store older, shared", at(5), at(7), providers.Shared, "at-7", 7, 0, record.Change{}, false},
		{"signed out elsewhere", signedOut(8, 1), at(9), providers.Rotating, "", 9, 1, record.Change{}, false},
		{"signed out here, unknown to the store", at(9), signedOut(8, 1), providers.Rotating, "", 9, 1, record.Change{Lost: true}, false},
		{"signed out here, store emptied, shared", record.Record{}, signedOut(8, 1), providers.Shared, "", 8, 1, record.Change{Lost: true}, false},
		{"signed out and in again here", at(9), with(at(12), func(r *record.Record) { r.Purges = 1 }), providers.Rotating, "at-12", 12, 1, record.Change{Lost: true}, true},
		{"signed in again elsewhere", with(at(12), func(r *record.Record) { r.Purges = 1 }), signedOut(8, 1), providers.Rotating, "at-12", 12, 1, record.Change{Adopted: true}, false},
		{"a later lease went on", at(8), with(at(9), func(r *record.Record) { r.Fence = 3 }), providers.Exclusive, "at-8", 9, 0, record.Change{Behind: true}, false},
		{"a newer token was announced", at(7), outdated, providers.Rotating, "at-7", 9, 0, record.Change{Adopted: true, Behind: true}, false},
		{"dead elsewhere", with(at(7), func(r *record.Record) { r.Token = providers.Token{} }), at(7), providers.Exclusive, "", 7, 0, record.Change{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.store.Fence = 4
			tt.own.Fence = cmp.Or(tt.own.Fence, 4)
			r, change := record.Reconcile(tt.store, tt.own, tt.mode, now)
			assert.Equal(t, tt.token, r.Token.AccessToken)
			assert.Equal(t, tt.version, r.Version)
			assert.Equal(t, tt.purges, r.Purges)
			assert.Equal(t, tt.change, change)
			assert.Equal(t, uint64(4), r.Fence, "the fence never falls")
			assert.Equal(t, tt.lostIntent, r.Intent != nil && r.Intent.Owner == record.LostOwner)
			if tt.purges > 0 && len(tt.own.Ended)+len(tt.store.Ended) > 0 {
				assert.Contains(t, r.Ended, current)
			}
		})
	}
	own := at(7)
	own.Failure = &record.Failure{Err: &providers.Error{Op: "tokencache"}}
	r, _ := record.Reconcile(record.Record{}, own, providers.Rotating, now)
	assert.Nil(t, r.Failure, "that the Store was away is not for the Store")
	own.Failure.Err.Op = "vendor"
	r, _ = record.Reconcile(record.Record{}, own, providers.Rotating, now)
	assert.NotNil(t, r.Failure)
}

// Whichever of the two is written again, a lease that either has seen stays old.
func TestReconcileKeepsTheHigherFence(t *testing.T) {
	for _, fences := range [][2]uint64{{3, 5}, {5, 3}} {
		for name, c := range map[string][2]record.Record{
			"the store lost a sign-out": {pair(0), record.Record{Details: record.Details{Version: 9, Purges: 1}}},
			"the store lost everything": {record.Record{}, pair(0)},
		} {
			store, own := c[0], c[1]
			store.Fence, own.Fence = fences[0], fences[1]
			r, _ := record.Reconcile(store, own, providers.Rotating, now)
			assert.Equal(t, uint64(5), r.Fence, name)
		}
	}
}

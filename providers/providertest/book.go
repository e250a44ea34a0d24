package providertest

import "time"

// grant is an issued token or pair, and what it was issued for.
type grant struct {
	access, refresh         string
	accessEnds, refreshEnds time.Time
	tenant                  string
	params                  map[string]any // Redacto: the identifiers; Kudo: the parameters
	serial                  int
}

// users returns the names of the grant's user. A new grant with one of them
// ends this one.
func (g *grant) users() []string {
	if g.tenant == "" {
		return nil
	}
	var names []string
	for kind, v := range g.params {
		if s, ok := v.(string); ok {
			names = append(names, g.tenant+"/"+kind+"/"+s)
		}
	}
	return names
}

// book holds the live grants. The Fake's mutex guards it.
type book struct {
	access, refresh map[string]*grant
	users           map[string]*grant
	serial          int
	sweepAt         int
}

func newBook() book {
	return book{access: map[string]*grant{}, refresh: map[string]*grant{}, users: map[string]*grant{}, sweepAt: 1000}
}

// add records g, ends the grants that it replaces and returns how many it
// ended.
func (b *book) add(g *grant, now time.Time) (killed int) {
	for _, u := range g.users() {
		if old := b.users[u]; old != nil {
			b.remove(old)
			killed++
		}
	}
	if len(b.access) >= b.sweepAt {
		b.sweep(now)
	}
	b.serial++
	g.serial = b.serial
	b.access[g.access] = g
	if g.refresh != "" {
		b.refresh[g.refresh] = g
	}
	for _, u := range g.users() {
		b.users[u] = g
	}
	return killed
}

func (b *book) remove(g *grant) {
	delete(b.access, g.access)
	delete(b.refresh, g.refresh)
	for _, u := range g.users() {
		if b.users[u] == g {
			delete(b.users, u)
		}
	}
}

// sweep removes ended grants. (The jti that Redox and ContactsManager have seen
// are kept for ever.)
func (b *book) sweep(now time.Time) {
	for _, g := range b.access {
		if !now.Before(g.accessEnds) && !now.Before(g.refreshEnds) {
			b.remove(g)
		}
	}
	b.sweepAt = 2*len(b.access) + 1000
}

// clear ends every grant and returns how many were alive.
func (b *book) clear(now time.Time) int {
	b.sweep(now)
	n, serial := len(b.access), b.serial
	*b = newBook()
	b.serial = serial
	return n
}

// live returns the grant of an access token, or nil if it is not alive.
func (b *book) live(access string, now time.Time) *grant {
	if g := b.access[access]; g != nil && now.Before(g.accessEnds) {
		return g
	}
	return nil
}

// spend removes and returns the grant of a refresh token, or nil if it is not
// alive. The access token ends with it.
func (b *book) spend(refresh string, now time.Time) *grant {
	g := b.refresh[refresh]
	if g == nil || !now.Before(g.refreshEnds) {
		return nil
	}
	b.remove(g)
	return g
}

package tokencache

// Ablate takes a part of the protocol away, to show that it is needed.
func (c *Cache) Ablate(noLease, noIntent bool) {
	c.ablate.noLease, c.ablate.noIntent = noLease, noIntent
}

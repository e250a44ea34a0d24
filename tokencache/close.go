package tokencache

import (
	"context"
	"fmt"
)

// Close stops new flights and waits for those under way, until ctx ends or
// they are past their time. Then it cancels them. The error says how many
// calls did not return even so: their provider ignores its context.
func (c *Cache) Close(ctx context.Context) error {
	c.life.Lock()
	c.closed = true
	if c.idle == nil {
		c.idle = make(chan struct{})
		if c.running == 0 {
			close(c.idle)
		}
	}
	idle := c.idle
	c.life.Unlock()
	defer func() {
		c.cancel()
		<-c.deaf
	}()
	patience, stop := context.WithTimeout(ctx, c.o.FetchTimeout+closeGrace)
	defer stop()
	select {
	case <-idle:
		return nil
	case <-patience.Done():
	}
	c.cancel()
	last, stop := context.WithTimeout(context.Background(), closeGrace)
	defer stop()
	select {
	case <-idle:
		return nil
	case <-last.Done():
	}
	c.life.Lock()
	defer c.life.Unlock()
	if c.running == 0 {
		return nil
	}
	return fmt.Errorf("tokencache: %d calls still under way: the provider ignores its context", c.running)
}

func (c *Cache) enter() bool {
	c.life.Lock()
	defer c.life.Unlock()
	if c.closed {
		return false
	}
	c.running++
	return true
}

func (c *Cache) leave() {
	c.life.Lock()
	defer c.life.Unlock()
	c.running--
	if c.running == 0 && c.idle != nil {
		close(c.idle)
	}
}

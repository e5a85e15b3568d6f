package transport

// slots is a loop's table of connections. A token names a place in it and a generation, so that an event
// that the kernel reported for a connection since gone never reaches the one that has its place now.
type slots struct {
	places []place
	vacant []int32
	count  int
}

type place struct {
	conn       *Conn
	generation uint32
}

// add gives c a place.
func (s *slots) add(c *Conn) {
	if n := len(s.vacant); n > 0 {
		c.slot = s.vacant[n-1]
		s.vacant = s.vacant[:n-1]
	} else {
		c.slot = int32(len(s.places))
		s.places = append(s.places, place{})
	}
	s.places[c.slot].conn = c
	s.count++
}

// free takes c's place back.
func (s *slots) free(c *Conn) {
	p := &s.places[c.slot]
	p.conn = nil
	p.generation++
	s.vacant = append(s.vacant, c.slot)
	s.count--
	c.slot = -1
}

// token is what the poller knows c by.
func (s *slots) token(c *Conn) uint64 {
	return uint64(s.places[c.slot].generation)<<32 | uint64(uint32(c.slot))
}

// find returns the connection that token was made for, or nil when it is gone.
func (s *slots) find(token uint64) *Conn {
	i := uint32(token)
	if int64(i) >= int64(len(s.places)) || s.places[i].generation != uint32(token>>32) {
		return nil
	}
	return s.places[i].conn
}

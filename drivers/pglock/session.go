package pglock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lockutils/lockutils/driver/boottime"
)

// A session is one connection to the server, and the locks that it holds there. Statements are
// sent without waiting for the answers to those before, by any goroutine, and one goroutine
// receives the answers. So it also learns at once that the server has closed the connection.
//
// No context of a caller touches the connection: what was sent is answered, or the session ends.
type session struct {
	conn     net.Conn
	frontend *pgproto3.Frontend
	pid      uint32 // of the server's process
	timeline uint64 // of the server
	presence int64  // a lock that the main session holds all the time

	notified func(lock int64) // called for each notification; nil: there are none
	ended    func()           // called once, when the session has ended

	// confirmed is when the latest statement that was answered was sent. The session existed
	// then.
	confirmed atomic.Int64

	holds map[*hold]struct{} // guarded by the Service's mutex

	done chan struct{} // closed by end
	err  error         // why it has ended; set before done is closed

	mu     sync.Mutex // guards the writing half of the frontend, and all below
	calls  []call     // those without an answer, in order
	unsent int        // how many of them, from the end, have not been sent
	over   bool
}

// A call is a statement and what is done with its answer.
type call struct {
	statement string
	args      [2]int64
	n         int
	answer    func(value int64, err error)
	sent      time.Duration
}

// window is how many statements may be on their way. They fit into the buffers of a connection of
// which the other end reads nothing, so that sending never blocks.
const window = 64

// send sends a statement. The session calls answer with what comes back, one call at a time;
// answer must not block. It does not call answer once it has ended.
func (s *session) send(statement string, answer func(int64, error), args ...int64) {
	c := call{statement: statement, answer: answer, n: len(args)}
	copy(c.args[:], args)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.calls = append(s.calls, c)
	s.unsent++
	s.flush()
}

// flush sends what the window allows. mu is held.
func (s *session) flush() {
	first := len(s.calls) - s.unsent
	for i := first; i < len(s.calls) && i < window; i++ {
		s.calls[i].sent = boottime.Now()
		s.calls[i].encode(s.frontend)
		s.unsent--
	}
	if err := s.frontend.Flush(); err != nil {
		s.conn.Close() // receive returns the error
	}
}

// binaryFormat is that of all parameters and results.
var binaryFormat = []int16{pgproto3.BinaryFormat}

func (c *call) encode(f *pgproto3.Frontend) {
	var numbers [2][8]byte
	var parameters [2][]byte
	for i := range c.n {
		binary.BigEndian.PutUint64(numbers[i][:], uint64(c.args[i]))
		parameters[i] = numbers[i][:]
	}
	f.SendBind(&pgproto3.Bind{
		PreparedStatement:    c.statement,
		Parameters:           parameters[:c.n],
		ParameterFormatCodes: binaryFormat,
		ResultFormatCodes:    binaryFormat,
	})
	f.SendExecute(&pgproto3.Execute{})
	f.SendSync(&pgproto3.Sync{})
}

// receive hands answers to those who wait for them, until the session ends.
func (s *session) receive() {
	var value int64
	var failure error
	for {
		message, err := s.frontend.Receive()
		if err != nil {
			s.end(err)
			return
		}
		switch m := message.(type) {
		case *pgproto3.DataRow:
			value, failure = number(m)
		case *pgproto3.ErrorResponse:
			e := pgconn.ErrorResponseToPgError(m)
			if failure = e; e.Severity == "FATAL" || e.Severity == "PANIC" {
				s.end(e)
				return
			}
		case *pgproto3.NotificationResponse:
			s.hear(m)
		case *pgproto3.ReadyForQuery:
			if c, ok := s.answered(); ok {
				c.answer(value, failure)
			}
			value, failure = 0, nil
		}
	}
}

func number(m *pgproto3.DataRow) (int64, error) {
	if len(m.Values) != 1 || len(m.Values[0]) != 8 {
		return 0, fmt.Errorf("the server returned %v, not one number", m.Values)
	}
	return int64(binary.BigEndian.Uint64(m.Values[0])), nil
}

func (s *session) hear(m *pgproto3.NotificationResponse) {
	if s.notified == nil {
		return
	}
	var lock int64
	if _, err := fmt.Sscan(m.Payload, &lock); err == nil {
		s.notified(lock)
	}
}

// answered returns the call whose answer is complete, and sends the next one if it had to wait.
func (s *session) answered() (call, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == s.unsent {
		return call{}, false
	}
	c := s.calls[0]
	s.calls = s.calls[1:]
	s.confirmed.Store(int64(c.sent))
	if s.unsent > 0 {
		s.flush()
	}
	return c, true
}

// ask sends a statement and waits for the answer.
func (s *session) ask(ctx context.Context, statement string, args ...int64) (int64, error) {
	type answer struct {
		value int64
		err   error
	}
	c := make(chan answer, 1)
	s.send(statement, func(value int64, err error) { c <- answer{value, err} }, args...)
	select {
	case a := <-c:
		return a.value, a.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-s.done:
		return 0, s.err
	}
}

// errClosing is why a session has ended that was not needed any more.
var errClosing = errors.New("the connection was closed")

// close ends the session in an orderly way.
func (s *session) close() {
	s.mu.Lock()
	if !s.over {
		s.frontend.Send(&pgproto3.Terminate{})
		s.frontend.Flush()
	}
	s.mu.Unlock()
	s.end(errClosing)
}

// end ends the session. The locks that it held are lost, if they are not already free.
func (s *session) end(err error) {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	s.over = true
	s.calls, s.unsent = nil, 0
	s.err = err
	close(s.done)
	s.mu.Unlock()
	s.ended()
	s.conn.Close()
}

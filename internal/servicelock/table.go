package servicelock

import (
	"sync"

	"github.com/lockutils/lockutils/driver"
)

// A key tells locks apart: by the service that keeps them and the name that they have there.
type key struct {
	service driver.Service
	name    string
}

// locks are all those that this process uses now.
var locks = table{byKey: make(map[key]*lock)}

type table struct {
	mu    sync.Mutex
	byKey map[key]*lock
}

// enter finds or makes the lock of a key and counts one more user.
func (t *table) enter(k key) *lock {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.byKey[k]
	if l == nil {
		l = &lock{key: k}
		t.byKey[k] = l
	}
	l.refs++
	return l
}

// inUse returns the locks.
func (t *table) inUse() (used []*lock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.byKey {
		used = append(used, l)
	}
	return used
}

// retain counts one more user of a lock that has some.
func (t *table) retain(l *lock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.refs++
}

// leave counts one user less.
func (t *table) leave(l *lock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.refs--; l.refs == 0 {
		delete(t.byKey, l.key)
	}
}

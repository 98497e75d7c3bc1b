package filelock

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tableReads is how often the kernel's table is read. It comes in pages, and a lock may be
// missing from it when others before it go between two pages.
const tableReads = 3

// Holders lists the processes that hold a lock on the file at path, of whatever kind, as the
// kernel's table of locks shows them. Where that table does not tell the process, or names one
// that does not have the file open, the holders are looked for among the processes that the
// caller may inspect. A missing file has no holders. Holders is slow, and out of date when it
// returns: for people, not for decisions.
func Holders(path string) ([]Holder, error) {
	users, err := UsersOf([]string{path})
	if err != nil {
		return nil, err
	}
	return users[0].Holders, nil
}

// UsersOf is Holders for many files at once, and lists those that wait as well.
func UsersOf(lockFiles []string) ([]Users, error) {
	s := survey{queues: make(map[string]string), known: make(map[int]*procInfo)}
	mounts, err := readMounts()
	if err != nil {
		return nil, err
	}
	names := make([]string, len(lockFiles))
	for i, path := range lockFiles {
		if names[i], err = mounts.tableName(path); err != nil {
			return nil, err
		}
		queue, err := mounts.tableName(queueFileOf(path))
		if names[i] != "" && queue != "" && err == nil {
			s.queues[names[i]] = queue
		}
	}
	if err := s.readTable(); err != nil {
		return nil, err
	}
	users := make([]Users, len(lockFiles))
	for i, name := range names {
		if name != "" {
			users[i] = s.usersOf(name)
		}
	}
	return users, nil
}

// mounts tells the device of each mount as "major:minor", by the mount's number. stat(2) may
// report another device than the kernel's tables of locks do, on overlays and btrfs for example.
type mounts map[string]string

func readMounts() (mounts, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return nil, err
	}
	m := make(mounts)
	for line := range bytes.Lines(table) {
		columns := strings.Fields(string(line))
		if len(columns) < 3 {
			continue
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(columns[2], "%d:%d", &major, &minor); err == nil {
			m[columns[0]] = fmt.Sprintf("%02x:%02x", major, minor)
		}
	}
	return m, nil
}

// tableName returns what the kernel's tables of locks call a file: the device and the inode. It
// returns "" for a missing file.
func (m mounts) tableName(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", pathError("open", path, err)
	}
	defer unix.Close(fd)
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return "", err
	}
	inode := field(info, "ino:")
	if inode == "" { // before Linux 5.14
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return "", pathError("fstat", path, err)
		}
		inode = strconv.FormatUint(st.Ino, 10)
	}
	device, ok := m[field(info, "mnt_id:")]
	if !ok {
		return "", pathError("holders", path, errors.ErrUnsupported)
	}
	return device + ":" + inode, nil
}

// field returns the value of one line of a file in /proc/PID/fdinfo.
func field(info []byte, name string) string {
	for line := range bytes.Lines(info) {
		if value, ok := strings.CutPrefix(string(line), name); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// tableLock is one line of the kernel's table of locks.
type tableLock struct {
	waits bool   // for the lock of the line before
	kind  string // FLOCK, POSIX, OFDLCK
	pid   int    // who locked the file; not positive if the table does not tell
	mode  Mode
	file  string // see tableName
	start int64  // the first byte locked
}

// parseLock reads a line of /proc/locks, "1: FLOCK ADVISORY WRITE 4711 fe:00:123456 0 EOF". The
// line of one who waits has an arrow after the number.
func parseLock(line string) (l tableLock, ok bool) {
	columns := strings.Fields(line)
	if len(columns) > 1 && columns[1] == "->" {
		l.waits = true
		columns = slices.Delete(columns, 1, 2)
	}
	if len(columns) < 7 {
		return l, false
	}
	var errPID, errStart error
	l.kind, l.file = columns[1], columns[5]
	l.pid, errPID = strconv.Atoi(columns[4])
	l.start, errStart = strconv.ParseInt(columns[6], 10, 64)
	if columns[3] == "READ" {
		l.mode = Shared
	}
	return l, errPID == nil && errStart == nil
}

// survey is what one look at the system has found.
type survey struct {
	queues  map[string]string      // of lock files, by file
	locks   map[string][]tableLock // by file, in the order of the table
	known   map[int]*procInfo
	scanned bool // known has all processes
}

// readTable reads the kernel's table of locks.
func (s *survey) readTable() error {
	s.locks = make(map[string][]tableLock)
	for range tableReads {
		table, err := os.ReadFile("/proc/locks")
		if err != nil {
			return err
		}
		for line := range bytes.Lines(table) {
			l, ok := parseLock(string(line))
			if ok && !slices.Contains(s.locks[l.file], l) {
				s.locks[l.file] = append(s.locks[l.file], l)
			}
		}
	}
	return nil
}

// procInfo is what /proc tells of a process.
type procInfo struct {
	gone   bool                   // the process has ended
	hidden bool                   // the caller may not inspect it
	open   map[string]bool        // inodes of open files
	locks  map[string][]tableLock // of open files, by file; their pid is not that of the process
}

// process returns what is known of a process.
func (s *survey) process(pid int) *procInfo {
	p := s.known[pid]
	if p == nil {
		p = inspect(pid)
		s.known[pid] = p
	}
	return p
}

func inspect(pid int) *procInfo {
	p := &procInfo{open: make(map[string]bool), locks: make(map[string][]tableLock)}
	dir := fmt.Sprintf("/proc/%d/fdinfo", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		p.gone = errors.Is(unix.Kill(pid, 0), unix.ESRCH)
		p.hidden = !p.gone
		return p
	}
	for _, e := range entries {
		info, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // the file has been closed
		}
		p.open[field(info, "ino:")] = true
		for line := range bytes.Lines(info) {
			line, ok := strings.CutPrefix(string(line), "lock:")
			if !ok {
				continue
			}
			if l, ok := parseLock(line); ok {
				p.locks[l.file] = append(p.locks[l.file], l)
			}
		}
	}
	return p
}

// scan inspects all processes.
func (s *survey) scan() {
	if s.scanned {
		return
	}
	s.scanned = true
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			s.process(pid)
		}
	}
}

// usersOf returns who holds the lock of a file, and who waits for it.
func (s *survey) usersOf(file string) (u Users) {
	var untold []tableLock // locks whose holders the table does not tell
	hidden := false
	for _, l := range s.locks[file] {
		switch {
		case l.waits:
			u.Waiters = add(u.Waiters, cmp.Or(max(l.pid, 0), UnknownPID), l.mode)
		case !s.has(l):
			untold = append(untold, l)
		default:
			u.Holders = add(u.Holders, l.pid, l.mode)
			hidden = hidden || s.process(l.pid).hidden
		}
	}
	if len(untold) > 0 {
		s.scan()
	}
	for _, l := range untold {
		pids := s.having(func(o tableLock) bool { return o.file == file && o.kind == l.kind && o.mode == l.mode })
		for _, pid := range pids {
			u.Holders = add(u.Holders, pid, l.mode)
		}
		// A process that may not be inspected probably has the record lock as well.
		if len(pids) == 0 && !(hidden && l.kind == "OFDLCK") && isInTable(l) {
			u.Holders = add(u.Holders, UnknownPID, l.mode)
		}
	}
	s.addQueue(&u, s.queues[file])
	return u
}

// has reports whether the table names the process that has the lock. The table keeps the number
// of the process that locked the file, which may have ended and left the open file to another: as
// flock(1) does that locks a shell's.
func (s *survey) has(l tableLock) bool {
	if l.pid <= 0 {
		return false
	}
	p := s.process(l.pid)
	inode := l.file[strings.LastIndexByte(l.file, ':')+1:]
	return p.hidden || p.open[inode] || len(p.locks[l.file]) > 0
}

// having returns the processes that have a lock which condition accepts, in ascending order.
func (s *survey) having(condition func(tableLock) bool) (pids []int) {
	for pid, p := range s.known {
		for _, locks := range p.locks {
			if slices.ContainsFunc(locks, condition) {
				pids = append(pids, pid)
				break
			}
		}
	}
	slices.Sort(pids)
	return pids
}

// isInTable reports whether a lock is held still. A lock that has gone meanwhile has no holder to
// be looked for.
func isInTable(l tableLock) bool {
	s := survey{}
	err := s.readTable()
	return err != nil || slices.Contains(s.locks[l.file], l)
}

// addQueue adds the processes in the queue of a fair lock to those that wait, in their order.
// Each of them has a record lock on a byte of the queue file. A writer that came through the queue
// keeps its byte while it holds the lock.
func (s *survey) addQueue(u *Users, queue string) {
	if queue == "" || len(s.locks[queue]) == 0 {
		return
	}
	s.scan()
	type position struct {
		pid   int
		start int64
	}
	var positions []position
	for pid, p := range s.known {
		for _, l := range p.locks[queue] {
			positions = append(positions, position{pid, l.start})
		}
	}
	slices.SortFunc(positions, func(a, b position) int { return cmp.Compare(a.start, b.start) })
	for i, p := range positions {
		holds := slices.ContainsFunc(u.Holders, func(h Holder) bool {
			return h.PID == p.pid && h.Mode == Exclusive
		})
		if i > 0 || !holds {
			u.Waiters = add(u.Waiters, p.pid, Exclusive)
		}
	}
}

// add adds a process unless it is listed. One that has several locks on a file is exclusive if
// one of them is.
func add(list []Holder, pid int, mode Mode) []Holder {
	i := slices.IndexFunc(list, func(h Holder) bool { return h.PID == pid })
	if i < 0 {
		return append(list, Holder{PID: pid, Command: command(pid), Mode: mode})
	}
	if mode == Exclusive {
		list[i].Mode = Exclusive
	}
	return list
}

// command returns the command line of a process.
func command(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return printable(strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " "))
}

package filelock

import (
	"bufio"
	"bytes"
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

// tableReads is how often the kernel's table is read. It comes in pages, and a lock may be missing from it when others
// before it go between two pages.
const tableReads = 3

// Holders lists the processes that hold a lock on the file at path, of whatever kind, as the kernel's table of locks
// shows them. Of a record lock that table does not tell the process, which is then looked for among those that the
// caller may inspect. A missing file has no holders. It is slow, and out of date when it returns: for people, not for
// decisions.
func Holders(path string) ([]Holder, error) {
	file, err := tableName(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil // it is not some part of /proc that is missing
		}
	}
	if err != nil {
		return nil, err
	}
	var holders []Holder
	anonymous := false
	for range tableReads {
		table, err := os.ReadFile("/proc/locks")
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(table) {
			pid, mode, ok := parseLock(string(line), file)
			switch {
			case !ok:
			case pid <= 0:
				anonymous = true
			default:
				holders = add(holders, pid, mode)
			}
		}
	}
	if anonymous {
		holders = addInspected(holders, file)
	}
	return holders, nil
}

// tableName returns what the kernel's tables of locks call a file: major and minor number of its file system and the
// inode. stat(2) may report another device than these tables do, on overlays and btrfs for example.
func tableName(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", pathError("open", path, err)
	}
	defer unix.Close(fd)
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return "", err
	}
	mount, inode := field(info, "mnt_id:"), field(info, "ino:")
	if inode == "" { // before Linux 5.14
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return "", pathError("fstat", path, err)
		}
		inode = strconv.FormatUint(st.Ino, 10)
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		columns := strings.Fields(lines.Text())
		if len(columns) < 3 || columns[0] != mount {
			continue
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(columns[2], "%d:%d", &major, &minor); err != nil {
			return "", err
		}
		return fmt.Sprintf("%02x:%02x:%s", major, minor, inode), nil
	}
	return "", pathError("holders", path, errors.ErrUnsupported)
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

// parseLock reads a line of /proc/locks, "1: FLOCK ADVISORY WRITE 4711 fe:00:123456 0 EOF", if it is a lock held on file.
// The line of one who waits has an arrow after the number.
func parseLock(line, file string) (pid int, mode Mode, ok bool) {
	columns := strings.Fields(line)
	if len(columns) < 6 || columns[1] == "->" || columns[5] != file {
		return 0, 0, false
	}
	pid, err := strconv.Atoi(columns[4])
	if columns[3] == "READ" {
		mode = Shared
	}
	return pid, mode, err == nil
}

// addInspected adds the processes that have a lock on file according to the lock lines of their open files, or one
// unknown process if there is none that the caller may inspect.
func addInspected(holders []Holder, file string) []Holder {
	before := len(holders)
	known := false
	infos, _ := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	for _, name := range infos {
		info, err := os.ReadFile(name)
		if err != nil {
			continue // the file has been closed, or the process is not ours to inspect
		}
		for line := range bytes.Lines(info) {
			lock, ok := strings.CutPrefix(string(line), "lock:")
			if !ok {
				continue
			}
			_, mode, ok := parseLock(lock, file)
			if !ok {
				continue
			}
			known = true
			pid, err := strconv.Atoi(strings.Split(name, "/")[2])
			if err == nil {
				holders = add(holders, pid, mode)
			}
		}
	}
	if !known && len(holders) == before {
		holders = append(holders, Holder{})
	}
	return holders
}

// add adds a process unless it is known, as one that holds two kinds of locks on the file is.
func add(holders []Holder, pid int, mode Mode) []Holder {
	if slices.ContainsFunc(holders, func(h Holder) bool { return h.PID == pid && h.Mode == mode }) {
		return holders
	}
	return append(holders, Holder{PID: pid, Command: command(pid), Mode: mode})
}

// command returns the command line of a process.
func command(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
}

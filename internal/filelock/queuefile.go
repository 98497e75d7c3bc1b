package filelock

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	queueFileSuffix = ".lockutils-queue"
	// hashSuffix ends the name of a queue file whose lock file has too long a name for the other
	// suffix. It is another one, as such a name could be that of the queue file of a shorter name
	// otherwise.
	hashSuffix = ".lockutils-hash-queue"
	// maxName is the longest file name that common file systems take, in bytes.
	maxName = 255
)

// IsQueueFile tells if a file name is that of a queue file: the file on which fair requests for a
// lock queue. No lock file should have such a name.
func IsQueueFile(fileName string) bool {
	return strings.HasSuffix(fileName, queueFileSuffix) || strings.HasSuffix(fileName, hashSuffix)
}

// LockName returns the name of a lock file, given its own name or that of its queue file.
func LockName(fileName string) string {
	return strings.TrimSuffix(strings.TrimSuffix(fileName, hashSuffix), queueFileSuffix)
}

// queueFileOf returns the path of the queue file of a lock file. Its name begins like that of the
// lock file.
func queueFileOf(path string) string {
	dir, name := filepath.Split(path)
	if len(name)+len(queueFileSuffix) <= maxName {
		return dir + name + queueFileSuffix
	}
	sum := sha256.Sum256([]byte(name))
	end := "-" + hex.EncodeToString(sum[:16]) + hashSuffix
	return dir + strings.ToValidUTF8(name[:maxName-len(end)], "") + end
}

// isOrphan tells if a queue file has no lock file.
func isOrphan(queuePath string) (bool, error) {
	if lock, ok := strings.CutSuffix(queuePath, queueFileSuffix); ok {
		_, err := os.Lstat(lock)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	}
	files, err := os.ReadDir(filepath.Dir(queuePath))
	for _, f := range files {
		if queueFileOf(filepath.Join(filepath.Dir(queuePath), f.Name())) == queuePath {
			return false, err
		}
	}
	return err == nil, err
}

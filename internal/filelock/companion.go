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
	companionSuffix = ".lockutils-queue"
	// hashSuffix ends the name of a companion whose lock file has too long a name for the other suffix. It is another
	// one, as such a name could be that of the companion of a shorter name otherwise.
	hashSuffix = ".lockutils-hash-queue"
	// maxName is the longest file name that common file systems take, in bytes.
	maxName = 255
)

// IsCompanion tells if a file name is that of a companion: the file on which fair requests for a lock queue. No lock
// file should have such a name.
func IsCompanion(fileName string) bool {
	return strings.HasSuffix(fileName, companionSuffix) || strings.HasSuffix(fileName, hashSuffix)
}

// companionOf returns the path of the companion of a lock file. Its name begins like that of the lock file.
func companionOf(path string) string {
	dir, name := filepath.Split(path)
	if len(name)+len(companionSuffix) <= maxName {
		return dir + name + companionSuffix
	}
	sum := sha256.Sum256([]byte(name))
	end := "-" + hex.EncodeToString(sum[:16]) + hashSuffix
	return dir + strings.ToValidUTF8(name[:maxName-len(end)], "") + end
}

// isOrphan tells if a companion has no lock file.
func isOrphan(companion string) (bool, error) {
	if lock, ok := strings.CutSuffix(companion, companionSuffix); ok {
		_, err := os.Lstat(lock)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	}
	files, err := os.ReadDir(filepath.Dir(companion))
	for _, f := range files {
		if companionOf(filepath.Join(filepath.Dir(companion), f.Name())) == companion {
			return false, err
		}
	}
	return err == nil, err
}

package filelock

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
)

const (
	companionSuffix = ".lockutils-queue"
	// maxName is the longest file name that common file systems take, in bytes.
	maxName = 255
)

// IsCompanion tells if a file name is that of a companion: the file on which fair requests for a lock queue. No lock
// file should have such a name.
func IsCompanion(fileName string) bool {
	return strings.HasSuffix(fileName, companionSuffix)
}

// companionOf returns the path of the companion of a lock file.
func companionOf(path string) string {
	dir, name := filepath.Split(path)
	if len(name)+len(companionSuffix) > maxName {
		sum := sha256.Sum256([]byte(name))
		name = hex.EncodeToString(sum[:])
	}
	return dir + name + companionSuffix
}

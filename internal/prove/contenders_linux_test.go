package prove

import (
	"os"
	"testing"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/internal/filelock"
)

// linuxContenders need the Linux engine.
var (
	fairFiles  = contender{"Lock with External, Fair and Shared, mixed", 1, mixedRequests, fileOptions()}
	fcntlFiles = contender{
		"Lock with External and WithFcntl",
		1,
		plainRequests,
		fileOptions(lockutils.WithFcntl()),
	}

	linuxContenders = forSystemEngine(fairFiles, fcntlFiles)
)

// portable selects the portable engine in the environment of a process.
const portable = filelock.EngineVariable + "=portable"

// forSystemEngine returns its arguments, or nil if the whole run uses the portable engine.
func forSystemEngine[T any](list ...T) []T {
	if filelock.EngineVariable+"="+os.Getenv(filelock.EngineVariable) == portable {
		return nil
	}
	return list
}

var linuxAllAtOnce = trials(allAtOnceTitle, allAtOnceTrials(linuxContenders, fileLoadClients)...)

func TestGoroutinesAllAtOnceOnLinux(t *testing.T) { linuxAllAtOnce.run(t) }

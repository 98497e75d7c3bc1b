package prove

import (
	"os"
	"testing"

	"github.com/lockutils/lockutils"
	"github.com/lockutils/lockutils/internal/filelock"
)

// linuxContenders need more than every system, and the portable engine, has.
var (
	fairFiles  = contender{"Lock with External, Fair and Shared, mixed", 1, allAsks, fileOptions()}
	fcntlFiles = contender{"Lock with External and WithFcntl", 1, plainAsks, fileOptions(lockutils.WithFcntl())}

	linuxContenders = forSystemEngine(fairFiles, fcntlFiles)
)

// portable makes a process use the engine of other systems.
const portable = filelock.EngineVariable + "=portable"

// forSystemEngine returns its arguments, or nothing if all is to run with the portable engine.
func forSystemEngine[T any](list ...T) []T {
	if filelock.EngineVariable+"="+os.Getenv(filelock.EngineVariable) == portable {
		return nil
	}
	return list
}

var linuxStorms = trials(stormTitle, stormTrials(linuxContenders, fileStormWorkers)...)

func TestGoroutinesAllAtOnceOnLinux(t *testing.T) { linuxStorms.run(t) }

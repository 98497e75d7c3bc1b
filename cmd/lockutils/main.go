// Lockutils is the command for the locks of package lockutils: it runs commands under a lock, and shows
// who holds locks and who waits for them. The command "lockutils help" lists what it does, and
// docs/command.md in the repository has recipes.
package main

import (
	"os"

	"github.com/lockutils/lockutils/cmd/lockutils/internal/command"
)

func main() { os.Exit(command.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

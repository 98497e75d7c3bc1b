#!/bin/sh
# Runs all tests with the race detector, prints a line for each package, whatever fails, and which tests were skipped. The names
# of the skipped ones are left in build/skipped.
set -u
cd "$(dirname "$0")/.." || exit 1
mkdir -p build

${GO:-go} test -race -v ./... >build/test.log 2>&1
status=$?
if [ $status != 0 ]; then
	# Only what belongs to a failure: passing and skipped tests fill the rest of the log.
	grep -vE '^ *(=== (RUN|PAUSE|CONT)|--- PASS|PASS$)' build/test.log
	echo "the whole log is in build/test.log"
else
	grep -E '^(ok|\?)' build/test.log
fi

sed -n 's/^ *--- SKIP: \([^ ]*\).*/\1/p' build/test.log >build/skipped
if [ -s build/skipped ]; then
	echo "skipped:"
	sed 's/^/  /' build/skipped
fi
exit $status

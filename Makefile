# All tasks of this repository. `make help` lists them.

GO      ?= go
DIR     ?=
LOCKS   ?= on
TIME    ?= 2m
ENGINE  ?= etcd
PREFIX  ?= /usr/local
DESTDIR ?=
BIN      = $(DESTDIR)$(PREFIX)/bin
SHARE    = $(DESTDIR)$(PREFIX)/share
WHOLE   := cmd/lockutils/internal/command/whole.bin
TARGETS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 freebsd/amd64 freebsd/arm64 windows/amd64 windows/arm64

# The lock services, by the name of the server, and the module of each.
DRIVERS         := etcd postgres redis
MODULE_etcd     := etcdlock
MODULE_postgres := pglock
MODULE_redis    := redislock
DRIVER_MODULES  := $(foreach driver,$(DRIVERS),drivers/$(MODULE_$(driver)))

# The other modules beside the one at the root, but for those of bench/ and tools/.
OTHER_MODULES  := examples/cluster metrics/lockprom metrics/lockotel cmd/lockutils
BENCH_MODULES  := bench bench/hosts
NESTED_MODULES := $(DRIVER_MODULES) $(OTHER_MODULES) $(BENCH_MODULES)

.PHONY: help demo demo-cluster demo-debug install command-docs test test-drivers test-modules $(DRIVERS:%=test-%) \
	peers released stress lint cross matrix bench bench-hosts bench-quick prove

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## the image cache: worker processes build each file once (DIR=input LOCKS=off)
	$(GO) run ./examples/imagecache -locks=$(LOCKS) $(DIR)

demo-cluster: ## the image cache on several hosts, some of which fail (ENGINE=etcd)
	@scripts/servers.sh $(ENGINE)
	cd examples/cluster && $(GO) run . -engine=$(ENGINE)

test: peers ## all tests, with the race detector, beside real peers and servers
	GO="$(GO)" scripts/test.sh
	@$(MAKE) --no-print-directory test-drivers test-modules

test-drivers: $(DRIVERS:%=test-%) ## the tests of the lock services, which start servers of their own

$(DRIVERS:%=test-%): test-%:
	@scripts/servers.sh $*
	GO="$(GO)" scripts/test.sh drivers/$(MODULE_$*)

test-modules: ## the tests of the other modules
	@for server in prometheus $(DRIVERS); do scripts/servers.sh $$server; done
	@for module in $(OTHER_MODULES); do GO="$(GO)" scripts/test.sh $$module || exit 1; done

demo-debug: ## a program whose goroutines wait for each other, to look at in a browser
	$(GO) run ./examples/contention

# On Linux the installed program holds the whole one inside, see cmd/lockutils/internal/command/split.go.
# The options of install(1) are those that GNU and BSD have in common.
install: ## the command lockutils, its manual pages and completions (PREFIX=/usr/local DESTDIR=)
	@mkdir -p build
	cd cmd/lockutils && CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(CURDIR)/build/lockutils .
	@if [ "$$($(GO) env GOOS)" = linux ]; then \
		mv build/lockutils $(WHOLE) && cd cmd/lockutils && \
		CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -tags lockutils_split -o $(CURDIR)/build/lockutils . ; \
		status=$$?; rm -f $(CURDIR)/$(WHOLE); exit $$status; \
	fi
	install -d $(BIN) $(SHARE)/man/man1 $(SHARE)/bash-completion/completions \
		$(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 755 build/lockutils $(BIN)
	install -m 644 cmd/lockutils/man/*.1 $(SHARE)/man/man1
	install -m 644 cmd/lockutils/completions/lockutils.bash $(SHARE)/bash-completion/completions/lockutils
	install -m 644 cmd/lockutils/completions/_lockutils $(SHARE)/zsh/site-functions
	install -m 644 cmd/lockutils/completions/lockutils.fish $(SHARE)/fish/vendor_completions.d

command-docs: ## make the manual pages and completions of the command lockutils anew
	cd cmd/lockutils && $(GO) run ./internal/generate .

peers: ## install what the tests run beside, where that is possible
	@scripts/peers.sh

released: ## that programs build with the modules as they are released, without this checkout
	cd tools && $(GO) run ./released .. . $(DRIVER_MODULES)

stress: ## the locks of one process under load for ten seconds, with names that collide
	$(GO) test -race -count=1 ./internal/names -run '^TestStress$$' -stress 10s

lint: ## gofmt, go vet, staticcheck, short lines, and that go.mod is tidy
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	@long=$$(git ls-files '*.go' | xargs grep -nE '^.{111}'); [ -z "$$long" ] || { echo "longer than 110:"; echo "$$long"; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(GO) mod tidy -diff
	@for module in $(NESTED_MODULES); do \
		echo "lint $$module"; \
		(cd $$module && $(GO) vet ./... && $(GO) tool -modfile=$(CURDIR)/tools/go.mod staticcheck ./... && $(GO) mod tidy -diff) || exit 1; \
	done

cross: ## build and vet for every supported system
	@for target in $(TARGETS); do \
		echo "vet $$target"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 $(GO) build ./... && \
		GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 $(GO) vet ./... || exit 1; \
	done
	@for target in darwin/arm64 freebsd/amd64 windows/amd64; do for module in $(NESTED_MODULES); do \
		echo "vet $$target $$module"; \
		(cd $$module && GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 $(GO) vet ./...) || exit 1; \
	done; done

matrix: ## the tests again: portable engine, one processor, 32 bits; and those of bench/
	LOCKUTILS_ENGINE=portable $(GO) test -count=1 ./...
	GOMAXPROCS=1 $(GO) test -count=1 ./...
	GO="$(GO)" scripts/test-arch.sh 386
	@for module in $(BENCH_MODULES); do echo "test $$module"; (cd $$module && $(GO) test ./...) || exit 1; done

bench: peers ## compare with peers, and write docs/benchmarks.md
	cd bench && $(GO) run . -out ../docs

bench-hosts: peers ## compare locks across hosts with others, and write docs/across-hosts.md (ENGINE=redis)
	@for server in $(DRIVERS); do scripts/servers.sh $$server; done
	cd bench/hosts && $(GO) run . -out ../../docs $(if $(filter-out file,$(origin ENGINE)),-engine $(ENGINE))

bench-quick: peers ## the same in two minutes, printed only
	cd bench && $(GO) run . -quick

prove: peers ## look for violations for TIME (default 2m), and write docs/reliability.md
	@for server in $(DRIVERS); do scripts/servers.sh $$server; done
	cd internal/prove && GO="$(GO)" $(GO) test -count=1 -timeout=0 -prove.time=$(TIME) -prove.services \
		-prove.report=$(CURDIR)/docs/reliability.md

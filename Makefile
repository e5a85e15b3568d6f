# Every target is a line; what CI runs is .ci/run.
GOLANGCI_LINT = v2.15.0
# All but e2e, which needs the built program and a browser.
PACKAGES = $$(go list ./... | grep -v /e2e)
RELEASE := $(shell git describe --tags --always --dirty 2>/dev/null)
IMAGE ?= logux-proxy:latest

.DEFAULT_GOAL := build
.PHONY: build test install unit race sim fuzz bench lint readme e2e demo faults deploy rehearsal dashboard chart chart-docs chart-test image image-test ci clean

build: ## bin/logux-proxy, static
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=$(RELEASE)" -o bin/logux-proxy ./cmd/node

test: unit e2e ## everything, on a fresh machine too

install: ## what the tests need: npm packages, Redis, Chromium
	e2e/install.sh test

unit: install ## tests of the packages, those of cluster with real Redis servers
	go test $(PACKAGES)

race: install ## the same with the race detector, in random order
	go test -race -shuffle=on $(PACKAGES)

SIM_SEEDS ?= 4000
sim: ## clients that move between failing servers, SIM_SEEDS (4000) times, two minutes; SIM_SEED says where to begin
	SIM_SEEDS=$(SIM_SEEDS) go test -count=1 -timeout 1h -run '^TestMovesSimulation$$' ./gateway

e2e: install ## the built program with real clients and a real browser
	go test -p 1 -count=1 -timeout 15m ./e2e/...

fuzz: ## every fuzz target for FUZZ_SECONDS (30)
	.ci/fuzz

bench: ## benchmarks beside hot code, then the load test
	go test -run '^$$' -bench . -benchmem ./wire/... ./gateway/... ./backend/... && go run ./e2e/bench

lint: ## formatting, vet and linters with the arrows between packages
	test -z "$$(gofmt -l .)" && go vet ./... && go vet -tags rehearsal ./e2e/rehearsal && go vet -tags dashboard ./e2e/dashboard && "$$(.ci/golangci-lint $(GOLANGCI_LINT))" run ./...

FAULT_ROUNDS ?= 20
FAULT_LOAD ?= A
faults: install ## each fault FAULT_ROUNDS (20) times under load FAULT_LOAD (A: 3,000 clients, or S), some hours
	FAULT_ROUNDS=$(FAULT_ROUNDS) FAULT_LOAD=$(FAULT_LOAD) go test -tags faults -count=1 -timeout 24h -v ./e2e/faults

deploy: install ## rolling restart and scale-out with ten thousand clients, some minutes
	DEPLOY_LOAD=D go test -count=1 -timeout 15m -v ./e2e/deploy

rehearsal: ## two nodes become five behind HAProxy and two again, five minutes; draws docs/rehearsal.svg
	e2e/install.sh rehearsal && PATH="$$PATH:/usr/sbin" go test -tags rehearsal -run '^TestRehearsal$$' -count=1 -timeout 15m -v ./e2e/rehearsal -args -picture "$(CURDIR)/docs/rehearsal.svg"

dashboard: ## the chart's dashboard over a real Prometheus, three minutes; draws docs/dashboard.svg
	e2e/install.sh dashboard && go test -tags dashboard -run '^TestDashboard$$' -count=1 -timeout 15m -v ./e2e/dashboard -args -picture "$(CURDIR)/docs/dashboard.svg"

readme: ## write the settings of the README and docs/metrics.md again
	go test ./cmd/node -run 'TestReadme|TestMetricsPage' -update

chart: build ## the Helm chart: golden files, types of Kubernetes, Pod Security, alerts
	.ci/promtool && cd charts/test && go vet ./... && go test -count=1 ./...

chart-test: build ## the chart in a real Kubernetes control plane: life of a release, budgets, autoscaling; some minutes, the first time thirty
	e2e/install.sh chart && bin=$$(.ci/kubernetes) && cd charts/test && go vet -tags cluster ./cluster && \
		go test -tags cluster -count=1 -timeout 30m -v ./cluster -args -bin "$$bin" -program "$(CURDIR)/bin/logux-proxy"

chart-docs: ## write the chart's README table and golden files again
	cd charts/test && go test -count=1 -run 'TestReadme|TestGolden' . -update

image: ## a container image with buildah; IMAGE names it, ARCH lists architectures (amd64 arm64)
	.ci/image $(IMAGE) $(ARCH)

image-test: ## build the image, run it without any rights and check it
	.ci/image-test

demo: ## three nodes, a Redis, a small back-end and a page to click on
	@exec e2e/demo.sh

ci: ## all that CI runs
	.ci/run

clean:
	rm -rf bin

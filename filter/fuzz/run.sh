#!/bin/sh
# libFuzzer on stable: run.sh TARGET SECONDS. Coverage comes from LLVM's own pass, which stable rustc can run; without
# address sanitizer, since the crates under test have no unsafe code. New inputs go to target/fuzz/corpus/TARGET, never
# into the committed corpus; a crash leaves its input in target/fuzz.
set -eu
name=${1:?target: protocol, grants, config, states, policy, usage or table}
seconds=${2:-60}
cd "$(dirname "$0")/../.."
host=$(rustc -vV | sed -n 's/^host: //p')
found=target/fuzz/corpus/$name
mkdir -p "$found"
RUSTFLAGS="--cfg fuzzing -C debug-assertions -C overflow-checks -C passes=sancov-module \
-C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
-C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares" \
    cargo build -p forebay-fuzz --features libfuzzer --bin "$name" --target "$host" --target-dir target/fuzz
exec "target/fuzz/$host/debug/$name" -max_total_time="$seconds" -max_len=4096 -artifact_prefix=target/fuzz/ \
    "$found" "filter/fuzz/corpus/$name"

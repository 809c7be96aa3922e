#!/usr/bin/env bash
# Evaluate with several processes: one per GPU, or gloo processes where there is none.
#   bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR (and PORT) on each of them. On
# one, a free port is found.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "Usage: bash $0 CONFIG CHECKPOINT GPUS [options of tools/test.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
ROOT=$(cd "$(dirname "$0")/.." && pwd)

if [ -n "${NNODES:-}${MASTER_ADDR:-}${PORT:-}" ]; then
    MEETING=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
else
    MEETING=(--standalone --local_addr=127.0.0.1)
fi
PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python}" \
    -m torch.distributed.run \
    "${MEETING[@]}" \
    --nproc_per_node="$GPUS" \
    "$ROOT/tools/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"

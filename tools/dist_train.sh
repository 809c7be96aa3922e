#!/usr/bin/env bash
# Train with several processes: one per GPU, or gloo processes where there is none.
#   bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR (and PORT) on each of them. On
# one, a free port is found.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "Usage: bash $0 CONFIG GPUS [options of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
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
    "$ROOT/tools/train.py" "$CONFIG" --launcher pytorch "${@:3}"

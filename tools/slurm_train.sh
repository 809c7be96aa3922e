#!/usr/bin/env bash
# Train on a Slurm cluster.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=14] [SRUN_ARGS=...] \
#       bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
# In a batch job with `#SBATCH --requeue` and `#SBATCH --signal=USR1@300` the run saves
# 300 s before its time is over (or when SIGTERM comes), ends with status 75 and is put
# back into the queue; started again it goes on with --resume.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "Usage: bash $0 PARTITION JOB_NAME CONFIG [options of tools/train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
ROOT=$(cd "$(dirname "$0")/.." && pwd)

if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    set -- "$@" --resume
fi
trap : TERM USR1 # srun passes them on; this script waits for the save

# SRUN_ARGS holds several options and is split on purpose
# shellcheck disable=SC2086
PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" srun \
    --partition="$PARTITION" \
    --job-name="$JOB_NAME" \
    --gres="gpu:$GPUS_PER_NODE" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-14}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$ROOT/tools/train.py" "$CONFIG" --launcher slurm "${@:4}" || STATUS=$?
if [ "${STATUS:=0}" -eq 75 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    scontrol requeue "$SLURM_JOB_ID" || echo "Job $SLURM_JOB_ID is not requeued;" \
        "start it again with --resume" >&2
fi
exit "$STATUS"

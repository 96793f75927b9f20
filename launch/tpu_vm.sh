#!/bin/bash
# Runs a dit_jax program on every worker of a TPU VM pod slice:
#
#   TPU=my-v5p-64 ZONE=us-east5-a launch/tpu_vm.sh \
#       python -m dit_jax.train --config configs/joint.py:xl/1x2x2 \
#       --workdir gs://BUCKET/runs/xl --config.data.path=DIR
#
# The repository must lie in DIRECTORY (default: ~/dit_jax) on all workers, with its
# `.venv` made by `make venv` and the TPU runtime installed. Worker 0 is the coordinator;
# its address is asked from the TPU API and passed explicitly.

set -euo pipefail

: "${TPU:?name the slice, TPU=NAME}" "${ZONE:?name its zone, ZONE=ZONE}"
DIRECTORY=${DIRECTORY:-'~/dit_jax'}
PORT=${PORT:-8476}

if [ $# -eq 0 ]; then
  echo "usage: TPU=NAME ZONE=ZONE launch/tpu_vm.sh python -m dit_jax.train ..." >&2
  exit 64
fi

endpoints=$(gcloud compute tpus tpu-vm describe "$TPU" --zone "$ZONE" \
  --format='value[delimiter=" "](networkEndpoints[].ipAddress)')
read -r -a hosts <<<"$endpoints"
echo "$TPU has ${#hosts[@]} workers; coordinator ${hosts[0]}:$PORT"

# Every worker finds its number in its own metadata: agent-worker-number.
number='$(curl -s -H "Metadata-Flavor: Google" http://metadata/computeMetadata/v1/instance/attributes/agent-worker-number)'
command=$(printf '%q ' "$@")
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command "
  cd $DIRECTORY && . .venv/bin/activate && exec $command \
    --coordinator_address=${hosts[0]}:$PORT \
    --num_processes=${#hosts[@]} \
    --process_id=$number"

#!/usr/bin/env bash
# Countdown-mini from nothing: problems and traces, rows, a tokenizer and random weights, two trainings, two models.
# Each training takes about an hour with both side by side on two cores. Interrupted, it goes on from its checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

[ -f work/countdown/traces.jsonl ] || $python -m curation.countdown_rows
[ -f work/mini/base/config.json ] || $python -m training.mini

# The same problems and, counted in tokens, the same budget: SPRINT's rows hold 12.8M tokens, RFT's 6.8M.
$python -m training.train model=work/mini/base dataset=work/countdown/sprint out=work/mini/sprint >work/mini/sprint.log 2>&1 &
sprint=$!
$python -m training.train model=work/mini/base dataset=work/countdown/rft out=work/mini/rft \
  recipe.args.num_train_epochs=1.89 recipe.args.per_device_train_batch_size=3 >work/mini/rft.log 2>&1 &
rft=$!
wait $sprint
wait $rft

$python -m training.export checkpoint=work/mini/sprint out=models/countdown-mini-sprint
$python -m training.export checkpoint=work/mini/rft out=models/countdown-mini-rft

# troupe replay: steps of a finished run and of one whose actors changed weights between tokens come out again in every role;
# on other numbers of ranks within the tolerance; changes are shown; damage is found; the run directory stays as it is; a dump
# agrees with itself and with the run.
. "$(dirname "$0")/common.sh"

# Rewards that differ in every group, so that every step has a gradient.
rewards=(--reward.tags.weight 1 --reward.length.kind length --reward.length.max_tokens 48)
run="$work/run"
expect_code 0 "$troupe" run configs/smoke.cfg --run-dir "$run" "${rewards[@]}"
fingerprint() { (cd "$1" && find . -type f -exec cksum {} + | sort -k3); }
before="$(fingerprint "$run")"
replay=("$troupe" replay "$run" --step)

for step in 1 2 3 4 5 6; do
  expect_code 0 "${replay[@]}" $step
  expect_text "the same bits as recorded: loss" "$work/last.log"
  expect_code 0 "${replay[@]}" $step --role actor
  expect_text "4 prompts, the same tokens as recorded" "$work/last.log"
  expect_text "16 completions, the same tokens and log-probabilities" "$work/last.log"
  expect_code 0 "${replay[@]}" $step --role rewarder
  expect_text "16 completions, the same rewards" "$work/last.log"
done
expect_code 0 "${replay[@]}" 5
grep -q "moments" "$work/last.log" && fail "step 5 has no checkpoint, but its moments were compared"
expect_code 0 "${replay[@]}" 6
expect_text ", and both moments of the checkpoint" "$work/last.log"
expect_text "from the checkpoint of step 3, rolling forward 2 steps" "$work/last.log"
for ranks in 1 3; do
  expect_code 0 "${replay[@]}" 5 --world $ranks
  expect_text "within the tolerance" "$work/last.log"
done

# A changed configuration: on policy the ratio is 1, so that clipping changes nothing; the others change what they should.
expect_code 0 "${replay[@]}" 5 --set loss.clip_high=0.3
expect_text "changed loss.clip_high: 0.2 -> 0.3" "$work/last.log"
expect_code 1 "${replay[@]}" 5 --set optimizer.lr=1e-3
expect_text "changed optimizer.lr: 3e-04 -> 0.001" "$work/last.log"
expect_text "20 of 20 tensors; most in model." "$work/last.log"
expect_code 1 "${replay[@]}" 5 --role actor --set sampling.temperature=0.5
expect_text "DIFFERENT: step 5: 16 of 16 completions; first group 16, sample 0: " "$work/last.log"
expect_code 1 "${replay[@]}" 5 --role actor --set data.prompt=r1_zero
expect_text "DIFFERENT: step 5: 4 of 4 prompts; first group 16: token 0 of the prompt: recorded " "$work/last.log"
expect_text "16 completions, the same tokens" "$work/last.log"
expect_code 1 "${replay[@]}" 5 --role rewarder --set reward.tags.weight=0.5
expect_text ": reward: recorded " "$work/last.log"

# Wrong use.
refuses() {
  expect_code 2 "${@:2}"
  expect_text "$1" "$work/last.log"
}
refuses "--step 0: expected 1 to 6" "${replay[@]}" 0
refuses "--step 7: expected 1 to 6" "${replay[@]}" 7
refuses "nearest known one is loss.clip_high" "${replay[@]}" 5 --set loss.clip_hig=1
refuses "--role judge: expected learner, actor or rewarder" "${replay[@]}" 5 --role judge
refuses "--world: goes with --role learner" "${replay[@]}" 5 --role actor --world 2
refuses "expected a folder outside the run's" "${replay[@]}" 5 --dump "$run/dump"
refuses "found no ledger.log" "$troupe" replay "$work" --step 1

# --under gdb starts gdb on the command without it.
mkdir "$work/bin"
printf '#!/bin/sh\necho "gdb $*"\n' >"$work/bin/gdb" && chmod +x "$work/bin/gdb"
PATH="$work/bin:$PATH" expect_code 0 "${replay[@]}" 5 --under gdb --role actor
expect_text "--args $(readlink -f "$troupe") replay $run --step 5 --role actor" "$work/last.log"

# A dump, checked by its own numbers and against the run's.
expect_code 0 "${replay[@]}" 4 --dump "$work/dump4"
expect_code 0 "${replay[@]}" 5 --dump "$work/dump5"
norm="$(sed -n 's/.*gradient norm \([^,]*\),.*/\1/p' "$work/last.log")"
loss="$(sed -n 's/.*recorded: loss \([^,]*\),.*/\1/p' "$work/last.log")"
python3 tests/end_to_end/check_dump_by_itself.py "$work/dump4" "$work/dump5" "$run/checkpoints/step-3/hf/model.safetensors" \
  "$loss" "$norm" || fail "the dump does not agree with itself"
[ "$(fingerprint "$run")" = "$before" ] || fail "the replays changed the run directory"

# Damage is named by file, and a step is never replayed over it.
damage() { # FILE OFFSET
  rm -rf "$work/damaged"
  cp -r "$run" "$work/damaged"
  python3 - "$work/damaged/$1" "$2" <<'PYTHON'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[int(sys.argv[2]) % len(data)] ^= 1
open(sys.argv[1], "wb").write(data)
PYTHON
}
for role in learner actor rewarder; do
  damage rollouts/000000.log -100
  refuses "rollouts/000000.log: corrupt at offset" "$troupe" replay "$work/damaged" --step 2 --role $role
done
damage ledger.log 5000
refuses "ledger.log: corrupt at offset" "$troupe" replay "$work/damaged" --step 5
damage checkpoints/step-3/shard-1-of-2.bin 40000
refuses "shard-1-of-2.bin at offset 0: expected checksum" "$troupe" replay "$work/damaged" --step 5
refuses "shard-1-of-2.bin at offset 0: expected checksum" "$troupe" replay "$work/damaged" --step 3
damage start/model.safetensors -5
refuses "but the run began with" "$troupe" replay "$work/damaged" --step 5
rm -r "$work/damaged/rollouts"
refuses "the recorded groups of step 5: cannot open" "$troupe" replay "$work/damaged" --step 5 --role rewarder

# Slow actors that take new weights between two tokens: completions of several versions, generated again.
expect_code 0 "$troupe" run configs/smoke.cfg --run-dir "$work/lag" "${rewards[@]}" --run.max_lag 4 --actors.count 1 \
  --actors.slots 2 --batch.prompts 1 --group.size 8 --run.steps 12 --eval.prompts 2
for step in 8 10 12; do
  expect_code 0 "$troupe" replay "$work/lag" --step $step --role actor
  expect_code 0 "$troupe" replay "$work/lag" --step $step
done
expect_code 0 "$troupe" run configs/smoke.cfg --run-dir "$work/keep" --actors.on_new_weights keep --run.steps 1 --eval.prompts 2
refuses "actors.on_new_weights = keep" "$troupe" replay "$work/keep" --step 1 --role actor

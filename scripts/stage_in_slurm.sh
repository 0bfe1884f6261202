# shellcheck shell=bash
# Sourced by the Slurm scripts. `run_stage COMMAND...` runs a stage as a step of the job and exits with its code.
#
# If the stage was stopped and can be resumed (exit code 75), the job goes back into the queue and runs again.
# Slurm sends the signal of --signal, and the SIGTERM at the beginning of a GraceTime, to the step. `scancel --full`, and
# the end of a job that is cancelled or preempted, also signal this shell, which has to outlive the stage; a cancelled
# job stays so, and Slurm itself requeues a preempted one.

run_stage() {
  local code cancelled=
  trap : USR1
  trap 'cancelled=1' TERM
  export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # Slurm 22.05 and later: srun has no other way to know
  ${SLURM_JOB_ID:+srun --ntasks=1} "$@"
  code=$?
  if [ "$code" -ne 75 ] || [ -z "${SLURM_JOB_ID:-}" ]; then
    exit "$code"
  fi
  if [ -n "$cancelled" ]; then
    echo "not requeued by the script: Slurm ends the job" >&2
  elif [ "${SLURM_RESTART_COUNT:-0}" -ge "${MAX_RESTARTS:-100}" ]; then
    echo "not requeued: the job has been restarted ${SLURM_RESTART_COUNT:-0} times (MAX_RESTARTS)" >&2
  else
    # The number of the last task of an array is that of the whole array, so name the task.
    scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
  fi
  exit "$code"
}

# `words TEXT` sets the array `words` to the words of a text; nothing in it is expanded.
# shellcheck disable=SC2034  # used by the scripts
words() {
  words=()
  IFS=$' \t\n' read -r -d '' -a words <<<"$1" || true
}

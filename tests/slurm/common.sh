# Shared by the Slurm scenarios: a private cluster in a scratch folder (its own munged, slurmctld and one slurmd a node, on ports of
# its own), which is always taken down, by pid. The nodes are virtual: all on this machine, in need of root but of no configuration.
. "$(dirname "$0")/../end_to_end/common.sh"

skipped() {
  echo "SKIPPED: $1; ./launch/setup.sh --slurm gets what is needed (root, Debian or Ubuntu)" >&2
  exit 77
}
PATH="$PATH:/usr/sbin"
for program in slurmctld slurmd munged; do command -v $program >/dev/null || skipped "$program is not installed"; done
[ "$(id -u)" = 0 ] || skipped "slurmd needs root"

# The jobs first: a slurmd that is killed leaves its jobs behind.
stop_cluster() {
  [ -S "$work/munge/socket" ] || return
  timeout 5 scancel --user=root 2>/dev/null
  for ((i = 0; i < 150; ++i)); do
    [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break
    [ $i != 25 ] || timeout 5 scancel --signal=KILL --full --user=root 2>/dev/null
    sleep 0.2
  done
  kill "${children[@]}" 2>/dev/null
  wait
}
trap 'left=$?; stop_cluster; (exit $left); finish' EXIT

export SLURM_CONF="$work/slurm.conf"
port=$((20000 + $$ % 10000))

# start_cluster CORES NODE …: virtual nodes with so many cores each, whatever the machine has.
start_cluster() {
  local cores="$1"
  shift
  chmod 755 "$work"
  mkdir -p "$work/state" "$work/munge"
  head -c 128 /dev/urandom >"$work/munge/key"
  chmod 600 "$work/munge/key"
  {
    echo "ClusterName=troupe"
    echo "SlurmctldHost=$(hostname -s)(127.0.0.1)"
    echo "SlurmctldPort=$port"
    printf '%s\n' SlurmUser=root SlurmdUser=root AuthType=auth/munge CredType=cred/munge ProctrackType=proctrack/linuxproc \
      TaskPlugin=task/none ReturnToService=2 SchedulerParameters=sched_interval=2,batch_sched_delay=0 \
      SelectType=select/cons_tres SelectTypeParameters=CR_Core SlurmdParameters=config_overrides KillWait=20
    # cred_expire is also how long a requeued job is held back.
    echo "AuthInfo=socket=$work/munge/socket,cred_expire=10"
    echo "StateSaveLocation=$work/state"
    for what in SlurmdSpoolDir=spool.%n SlurmctldPidFile=ctld.pid SlurmdPidFile=d.%n.pid \
      TmpFS=tmp.%n; do
      echo "${what%%=*}=$work/${what#*=}"
    done
    local number=0
    for node in "$@"; do
      number=$((number + 1))
      mkdir -p "$work/tmp.$node" "$work/spool.$node"  # a temporary folder each, or their PMIx servers meet in one
      echo "NodeName=$node NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + number)) CPUs=$cores RealMemory=100000"
    done
    echo "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP"
  } >"$SLURM_CONF"

  start_daemon munged -F --force --socket="$work/munge/socket" --key-file="$work/munge/key" --pid-file="$work/munge/pid" \
    --seed-file="$work/munge/seed"
  wait_for 20 "munged" test -S "$work/munge/socket"
  start_daemon slurmctld -D
  for node in "$@"; do start_daemon slurmd -D -N "$node"; done
  wait_for 30 "$# idle nodes" idle_nodes $#
}

start_daemon() {
  "$@" >>"$work/$1.log" 2>&1 &
  children+=($!)
}
idle_nodes() { [ "$(sinfo -h -N -t idle -o %N | wc -l)" = "$1" ]; }

# submit FILE argument …: its job id.
submit() { sbatch --parsable --output="$work/job-%j.log" "$@" || fail "sbatch $*"; }
state_of() { scontrol show job "$1" | sed -n 's/^ *JobState=\([A-Z_]*\).*/\1/p'; }
in_state() { [ "$(state_of "$1")" = "$2" ]; }
exit_code_of() { scontrol show job "$1" | sed -n 's/.*ExitCode=\([0-9]*\):.*/\1/p'; }

no_jobs() { [ -z "$(squeue -h)" ]; }

# ends JOB SECONDS CODE: it ended with this exit code.
ends() {
  for ((i = 0; i < $2 * 5; ++i)); do
    case "$(state_of "$1")" in
      COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL)
        [ "$(exit_code_of "$1")" = "$3" ] && return 0
        fail "job $1 ended as $(state_of "$1") with $(exit_code_of "$1") instead of $3"
        ;;
    esac
    sleep 0.2
  done
  fail "job $1 is $(state_of "$1") after $2 s"
}

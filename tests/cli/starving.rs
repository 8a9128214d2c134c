use crate::disk::on_small_disk;
use crate::workshop::Workshop;

/// A worker whose control group is a folder of the test. No limit of memory is set on this machine: what is tested is
/// everything from the kernel's files on, not that the kernel writes them.
const SCRIPT: &str = r#"
count() { printf "$before\noom_kill $1\n" > $group/$file; }
mount -t tmpfs tmpfs /sys/fs/cgroup
group=/sys/fs/cgroup$folder
mkdir -p $group
count 3
echo "$line" > groups
cat > windlass.yaml <<'end'
api: { listen: 127.0.0.1:0 }
telemetry: { listen: 127.0.0.1:0 }
executors:
  each: { command: { run: [./job.sh] } }
  stays: { command: { run: [perl, ./stays.pl], persistent: true } }
routes:
  - { type: "each.*", run: each, crashes: 1 }
  - { type: "stays.*", run: stays, crashes: 1 }
end
cat > job.sh <<end
#!/bin/sh
[ \$WINDLASS_JOB_TYPE = each.starved ] && printf "$before\noom_kill 4\n" > $group/$file
kill -9 \$\$
end
cat > stays.pl <<end
open(my \$in, '<&=', 3); open(my \$out, '>&=', 4); binmode \$_ for \$in, \$out;
my \$hello = '{"hello": {"protocol": 1}}';
syswrite(\$out, pack('N', length \$hello) . \$hello);
sysread(\$in, my \$job, 100000);
if (\$job =~ /stays.starved/) { open(my \$file, '+<', '$group/$file'); print {\$file} "$before\noom_kill 5\n"; close \$file }
kill 9, \$\$;
end
chmod +x job.sh
sh -c 'read -r me rest < /proc/self/stat; mount --bind groups /proc/$me/cgroup; exec $WINDLASS run' 2>../log & worker=$!
for type in each.killed each.starved each.killed stays.killed stays.starved stays.killed; do
  $WINDLASS submit $type --wait 60s 2>&1 && exit 1
  echo "^ $type"
done
$WINDLASS audit
kill $worker; wait $worker
"#;

fn what_is_said(version: &str) {
    let Some(said) = on_small_disk(&Workshop::new(), &format!("{version}\n{SCRIPT}")) else { return };
    let ends: Vec<&str> = said.split("^ ").collect();
    for (end, next) in ends.iter().zip(&ends[1..]) {
        let starved = next.starts_with("each.starved") || next.starts_with("stays.starved");
        assert!(end.contains("poison") && end.contains("SIGKILL"), "{said}");
        assert_eq!(end.contains("the kernel's out-of-memory killer ended it"), starved, "{next}: {end}");
    }
    assert!(ends.len() == 7 && said.contains("nothing was lost"), "{said}");
}

#[test]
fn a_process_that_the_kernel_ended_for_want_of_memory_is_told_from_one_that_was_killed() {
    what_is_said("line=0::/pod/worker folder=/pod/worker file=memory.events before='low 0\\nmax 9'");
    what_is_said("line=4:memory:/pod folder=/memory/pod file=memory.oom_control before='oom_kill_disable 0\\nunder_oom 0'");
    // inside a container the group is mounted as the root of the tree
    what_is_said("line=0::/docker/abc folder= file=memory.events before='low 0\\nmax 9'");
}

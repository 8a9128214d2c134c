use super::*;

fn recipe(script: &str) -> Recipe {
    Recipe {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        directory: "/".into(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        memory: None,
        cpu: None,
    }
}

fn empty() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

async fn line(from: &mut Stream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\n") {
        assert!(from.is_open(), "the process closed its output");
        from.read(&mut text).await;
    }
    String::from_utf8(text).unwrap().trim_end().to_owned()
}

fn alive(pid: &str) -> bool {
    rustix::process::test_kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap()).is_ok()
}

async fn gone(pid: &str) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while alive(pid) {
            sweep().await;
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("process {pid} is still there"));
}

#[tokio::test]
async fn the_exit_of_a_process_is_told_by_code_and_by_signal() {
    for (script, said) in [
        ("exit 0", "exited with code 0"),
        ("exit 75", "exited with code 75"),
        ("kill -SEGV $$", "was killed by signal 11 (SIGSEGV)"),
        ("kill -9 $$", "was killed by signal 9 (SIGKILL)"),
    ] {
        let mut started = start(&recipe(script), empty()).await.unwrap();
        assert_eq!(started.leader.ended().await.unwrap().describe(None, None), said);
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_an_error_of_the_start() {
    let missing = Recipe { program: "/nowhere/at/all".into(), ..recipe("") };
    assert_eq!(start(&missing, empty()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    let misplaced = Recipe { directory: "/nowhere/at/all".into(), ..recipe("") };
    assert_eq!(start(&misplaced, empty()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_process_leads_a_session_and_sees_only_what_it_was_given() {
    let open = "for fd in 3 4 5 6 7 8 9; do (true <&$fd) 2>/dev/null && echo OPEN=$fd; done";
    let mut started = start(&recipe(&format!("env; {open}; exec sleep 600 >/dev/null")), empty()).await.unwrap();
    let mut text = Vec::new();
    while started.stdout.is_open() {
        started.stdout.read(&mut text).await;
    }
    let text = String::from_utf8(text).unwrap();
    let given = ["PATH=", "WINDLASS_RUN=", "PWD=", "_=", "SHLVL=", "OLDPWD="];
    assert!(text.contains("WINDLASS_RUN=") && text.lines().all(|line| given.iter().any(|name| line.starts_with(name))), "{text}");
    let leader = Pid::from_raw(started.leader.id()).unwrap();
    assert_eq!(rustix::process::getpgid(Some(leader)), Ok(leader));
    assert_eq!(rustix::process::getsid(Some(leader)), Ok(leader));
}

#[tokio::test]
async fn what_a_process_left_in_its_group_ends_with_it() {
    let mut started = start(&recipe("sleep 600 & echo $!"), empty()).await.unwrap();
    let pid = line(&mut started.stdout).await;
    assert_eq!(started.leader.ended().await.unwrap(), Exit::Code(0));
    gone(&pid).await;
}

#[tokio::test]
async fn a_daemon_is_left_alone_while_its_run_lives_and_ended_after_it() {
    let mut started = start(&recipe("setsid sh -c 'echo $$; exec sleep 600' & wait; sleep 600"), empty()).await.unwrap();
    let orphaned = "setsid sh -c 'sleep 600 & echo $!; exit 0' ; exec sleep 600";
    let mut other = start(&recipe(orphaned), empty()).await.unwrap();
    let (first, second) = (line(&mut started.stdout).await, line(&mut other.stdout).await);
    sweep().await;
    assert!(alive(&first) && alive(&second));
    drop(started);
    other.leader.kill();
    other.leader.ended().await.unwrap();
    gone(&first).await;
    gone(&second).await;
}

#[tokio::test]
async fn a_dropped_process_is_killed_and_reaped() {
    let mut started = start(&recipe("echo $$; trap '' TERM; sleep 600"), empty()).await.unwrap();
    let pid = line(&mut started.stdout).await;
    drop(started);
    gone(&pid).await;
}

#[tokio::test]
async fn processor_time_over_the_limit_is_named() {
    let busy = Recipe { cpu: Some(Duration::from_secs(1)), ..recipe("while :; do :; done") };
    let exit = start(&busy, empty()).await.unwrap().leader.ended().await.unwrap();
    let said = exit.describe(None, busy.cpu);
    assert_eq!(said, "was killed by signal 24 (SIGXCPU); it used up its processor time of 1s (cpu)");
}

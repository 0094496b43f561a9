//! CPU, stack, time and memory.

use futures::future::join_all;
use serde_json::json;

use super::Arena;
use crate::support::{blocking_handler, until};

#[tokio::test]
async fn endless_loops_end_at_their_cpu_time_and_leave_the_neighbour_its_share() {
    let arena = Arena::with_limits(json!({ "cpu_time_ms": 400 })).await;
    let before = arena.neighbour.answers();
    let answers = join_all((0..4).map(|_| arena.attack("/loop"))).await;
    assert!(arena.neighbour.answers() > before, "the neighbour had no answer while others looped");
    for answer in answers {
        let problem = answer.problem(504, "cpu_time_exceeded", None);
        assert!(problem["detail"].as_str().unwrap().contains("400 ms (limits.cpu_time_ms)"), "{problem}");
        assert!(!problem.to_string().contains("spin"), "a backtrace is not for the caller");
    }
    arena.told(&["limits.cpu_time_ms", "spin"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_loop() {
    let arena = Arena::with_limits(json!({ "cpu_time_ms": 600_000, "wall_time_ms": 600_000 })).await;
    let running = async || (arena.host.layers("hostile").await["instances"]["running"] == 1).then_some(());
    tokio::select! {
        answer = arena.attack("/loop") => panic!("an endless loop answers: {answer:?}"),
        () = until("the loop", running) => {}
    }
    arena.ended().await;
}

#[tokio::test]
async fn endless_recursion_overflows_only_its_own_stack() {
    let arena = Arena::with_limits(json!({})).await;
    arena.attack("/recurse").await.problem(502, "handler_stack_overflow", None);
    arena.told(&["recursed deeper", "deeper"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn waiting_for_ever_ends_at_the_wall_time() {
    let arena = Arena::with_limits(json!({ "wall_time_ms": 300 })).await;
    let problem = arena.attack("/sleep").await.problem(504, "wall_time_exceeded", None);
    assert!(problem["detail"].as_str().unwrap().contains("300 ms (limits.wall_time_ms)"), "{problem}");
    arena.told(&["limits.wall_time_ms"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn waiting_for_nothing_ends_before_the_wall_time() {
    let arena = Arena::with_limits(json!({ "wall_time_ms": 600_000 })).await;
    arena.attack("/await-nothing").await.problem(502, "handler_trap", None);
    arena.told(&["the handler trapped"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn linear_memory_ends_at_its_limit() {
    let arena = Arena::with_limits(json!({ "memory_bytes": 16 << 20 })).await;
    let problem = arena.attack("/memory").await.problem(502, "handler_out_of_memory", None);
    assert!(problem["detail"].as_str().unwrap().contains("(limits.memory_bytes)"), "{problem}");
    arena.told(&["limits.memory_bytes", "take_memory"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn tables_count_as_memory() {
    let table_bomb = blocking_handler(
        "(table $bomb 0 funcref)",
        "(loop $again
            (br_if $again (i32.ne (table.grow $bomb (ref.null func) (i32.const 1000)) (i32.const -1))))
         unreachable",
    );
    let arena = Arena::with_component(table_bomb, json!({ "memory_bytes": 256 << 10 })).await;
    arena.attack("/").await.problem(502, "handler_out_of_memory", None);
    arena.told(&["limits.memory_bytes"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn memories_are_summed() {
    // Three memories of 1 MiB each: below the limit one by one, above it together.
    let memories = "(memory 16) (memory 16) (memory 16)";
    let arena =
        Arena::with_component(blocking_handler(memories, "unreachable"), json!({ "memory_bytes": 2 << 20 }))
            .await;
    arena.attack("/").await.problem(502, "handler_out_of_memory", None);
    arena.told(&["limits.memory_bytes"]).await;
    arena.ended().await;
}

//! What would harm a host that bounds nothing of what handlers keep.

use modelet_sdk::{Problem, Request, Response, call};

use super::{Bucket, atomics, batch, bucket, problem, store};

const MIB: usize = 1 << 20;

pub async fn route(request: Request) -> Result<Response, Problem> {
    match request.path() {
        "/hostile/fill" => call(fill, request).await,
        "/hostile/tiny" => call(tiny, request).await,
        "/hostile/sizes" => call(sizes, request).await,
        "/hostile/buckets" => call(buckets, request).await,
        "/hostile/busy" => call(busy, request).await,
        path => Err(Problem::not_found(format!("there is nothing at {path}"))),
    }
}

/// Writes values until there is no room, and says how many there was room for.
async fn fill() -> Result<String, Problem> {
    let (bucket, value) = (bucket()?, vec![b'x'; MIB]);
    for count in 0.. {
        if let Err(error) = bucket.set(&format!("large-{count}"), &value) {
            return Ok(format!("{count} {:?}", problem(error)));
        }
    }
    Ok("there is room without end".into())
}

/// Writes empty values until there is no room.
async fn tiny() -> Result<String, Problem> {
    let bucket = bucket()?;
    let mut count = 0;
    loop {
        let some: Vec<_> = (count..count + 1_000).map(|n| (n.to_string(), Vec::new())).collect();
        if let Err(error) = batch::set_many(&bucket, &some) {
            return Ok(format!("{count} {:?}", problem(error)));
        }
        count += 1_000;
    }
}

/// Everything that is too large, each with its refusal.
async fn sizes() -> Result<String, Problem> {
    let bucket = bucket()?;
    let long_key = "k".repeat(1_025);
    let refusals = [
        ("key", bucket.set(&long_key, b"")),
        ("key to get", bucket.get(&long_key).map(drop)),
        ("key to delete", bucket.delete(&long_key)),
        ("key to add to", atomics::increment(&bucket, &long_key, 1).map(drop)),
        ("value", bucket.set("value", &vec![b'x'; MIB + 1])),
        ("keys", batch::get_many(&bucket, &vec![String::new(); 1_001]).map(drop)),
        ("entries", batch::set_many(&bucket, &five(&bucket)?)),
        ("values", values(&bucket)),
        ("cursor", bucket.list_keys(Some("here")).map(drop)),
        ("number", bucket.set("text", b"twelve").and_then(|()| add(&bucket, "text", 1))),
        ("sum", add(&bucket, "sum", i64::MAX).and_then(|()| add(&bucket, "sum", 1))),
    ];
    let shown = refusals.map(|(what, result)| match result {
        Ok(()) => format!("{what}: not refused"),
        Err(error) => format!("{what}: {:?}", problem(error)),
    });
    Ok(shown.join("\n"))
}

fn add(bucket: &Bucket, key: &str, delta: i64) -> Result<(), store::Error> {
    atomics::increment(bucket, key, delta).map(drop)
}

/// More than one call may write.
fn five(_: &Bucket) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    Ok((0..5).map(|n| (format!("five-{n}"), vec![b'x'; MIB])).collect())
}

/// Reads more than one call may.
fn values(bucket: &Bucket) -> Result<(), store::Error> {
    let names: Vec<String> = (0..5).map(|n| format!("five-{n}")).collect();
    for name in &names {
        bucket.set(name, &vec![b'x'; MIB])?;
    }
    batch::get_many(bucket, &names).map(drop)
}

/// Holds as many buckets as there are, and says how many those were.
async fn buckets() -> Result<String, Problem> {
    let mut held = Vec::new();
    loop {
        match store::open("default") {
            Ok(bucket) => held.push(bucket),
            Err(error) => return Ok(format!("{} {:?}", held.len(), problem(error))),
        }
    }
}

/// Writes without end.
async fn busy() -> Result<(), Problem> {
    let (bucket, value) = (bucket()?, vec![b'x'; MIB]);
    loop {
        bucket.set("busy", &value).map_err(problem)?;
    }
}

//! The program that becomes a worker process in this crate's tests, benchmarks and examples, as `modelet` does
//! on a host.

fn main() {
    modelet_inference::model_worker_if_asked();
    eprintln!("this program is started by tests only");
    std::process::exit(2);
}

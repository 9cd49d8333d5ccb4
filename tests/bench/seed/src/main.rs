//! Tasks of one process log into a disk_log; prints records and microseconds.
//!
//! A request for a page waits its turn behind the records: when it is answered, they are in files.

use std::time::Instant;

#[tokio::main]
async fn main() {
    let given: Vec<String> = std::env::args().collect();
    let number = |i: usize| given[i].parse::<usize>().expect("a number");
    let (path, tasks, each, length) = (&given[1], number(2), number(3), number(4));
    let session = disk_log::DiskLog::open(path, "log", 1_000_000)
        .unwrap()
        .run_service();

    let start = Instant::now();
    let producers: Vec<_> = (0..tasks)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move {
                for _ in 0..each {
                    assert!(session.log(vec![b'x'; length]).await.is_ok(), "a record was refused");
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.unwrap();
    }
    assert!(session.get_page(1).await.is_ok(), "there is no page");
    println!("{} {}", tasks * each, start.elapsed().as_micros());
}

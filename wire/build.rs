//! Compiles the .proto files without a `protoc` on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["firesteel.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Segments and rows are cut out of one buffer, not copied.
        .bytes(".firesteel.wire.SegmentPart.data")
        .bytes(".firesteel.wire.RowsPart.rows")
        .bytes(".firesteel.wire.StagePlan.plan")
        .codec_path("crate::codec::CheckedCodec")
        .compile_fds(files)?;
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0
//! Links with the static library of a bundle that was built:
//!   cmake -S bundle -B bundle/build && cmake --build bundle/build
//!   BUNDLE_BUILD=bundle/build cargo run -- bundle "Once upon a time"

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=BUNDLE_BUILD");
    let build = env::var("BUNDLE_BUILD").expect("BUNDLE_BUILD says where the bundle was built");
    let library = PathBuf::from(build).join("runtime/embed");
    println!("cargo:rustc-link-search=native={}", library.display());
    println!("cargo:rustc-link-lib=static=lumen_runtime");
    println!("cargo:rustc-link-lib=stdc++");
    println!("cargo:rustc-link-arg=-Wl,-z,now");
}

// SPDX-License-Identifier: Apache-2.0
//! A safe face for the C interface (`lumen.h`, `lumen_tokenizer.h`).

use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_void};
use std::ptr;

/// The text of an error of the library.
pub type Result<T> = std::result::Result<T, String>;

const ERROR_SIZE: usize = 512;
const NO_EOS: c_int = 4;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sampling {
    pub temperature: f64,
    pub top_k: c_int,
    pub typical_p: f64,
    pub top_p: f64,
    pub min_p: f64,
    pub repeat_penalty: f64,
    pub repeat_last: c_int,
    pub presence_penalty: f64,
    pub frequency_penalty: f64,
    pub seed: i64,
}

type Handle = *mut c_void;

extern "C" {
    fn lumen_open(bundle: *const c_char, options: Handle, model: *mut Handle, error: *mut c_char, size: usize)
        -> c_int;
    fn lumen_close(model: Handle);
    fn lumen_step(model: Handle, tokens: *const i32, count: c_int, logits: *mut f32, error: *mut c_char, size: usize)
        -> c_int;
    fn lumen_position(model: Handle) -> c_int;
    fn lumen_context(model: Handle) -> c_int;
    fn lumen_vocabulary(model: Handle) -> c_int;
    fn lumen_default_sampling(model: Handle) -> Sampling;
    fn lumen_sampler_new(sampling: *const Sampling, sampler: *mut Handle, error: *mut c_char, size: usize) -> c_int;
    fn lumen_sampler_free(sampler: Handle);
    fn lumen_sampler_accept(sampler: Handle, tokens: *const i32, count: c_int, error: *mut c_char, size: usize)
        -> c_int;
    fn lumen_sampler_sample(sampler: Handle, logits: *const f32, count: c_int, token: *mut i32, error: *mut c_char,
        size: usize) -> c_int;
    fn lumen_tokenizer_open(path: *const c_char, tokenizer: *mut Handle, error: *mut c_char, size: usize) -> c_int;
    fn lumen_tokenizer_close(tokenizer: Handle);
    fn lumen_tokenizer_ends(tokenizer: Handle, token: i32) -> c_int;
    fn lumen_tokenizer_encode(tokenizer: Handle, text: *const c_char, bytes: usize, flags: c_int, tokens: *mut i32,
        capacity: usize, count: *mut usize, error: *mut c_char, size: usize) -> c_int;
    fn lumen_decoder_new(tokenizer: Handle, flags: c_int, decoder: *mut Handle, error: *mut c_char, size: usize)
        -> c_int;
    fn lumen_decoder_feed(decoder: Handle, token: i32, text: *mut *const c_char, bytes: *mut usize,
        error: *mut c_char, size: usize) -> c_int;
    fn lumen_decoder_free(decoder: Handle);
}

/// Calls a function that writes a text of its error.
fn checked(call: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<()> {
    let mut error = [0 as c_char; ERROR_SIZE];
    match call(error.as_mut_ptr(), ERROR_SIZE) {
        0 => Ok(()),
        // The library ends every text with a zero.
        _ => Err(unsafe { CStr::from_ptr(error.as_ptr()) }.to_string_lossy().into_owned()),
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| "a path has a zero byte in it".into())
}

pub struct Model(Handle);

impl Model {
    pub fn open(bundle: &str) -> Result<Model> {
        let (path, mut model) = (c_string(bundle)?, ptr::null_mut());
        checked(|error, size| unsafe { lumen_open(path.as_ptr(), ptr::null_mut(), &mut model, error, size) })?;
        Ok(Model(model))
    }

    /// The logits behind `tokens`, which follow those of the steps before.
    pub fn step(&mut self, tokens: &[i32], logits: &mut Vec<f32>) -> Result<()> {
        logits.resize(unsafe { lumen_vocabulary(self.0) } as usize, 0.0);
        let count = c_int::try_from(tokens.len()).map_err(|_| "there are too many tokens")?;
        checked(|error, size| unsafe {
            lumen_step(self.0, tokens.as_ptr(), count, logits.as_mut_ptr(), error, size)
        })
    }

    /// Tokens that there is still room for.
    pub fn room(&self) -> usize {
        unsafe { lumen_context(self.0) - lumen_position(self.0) }.max(0) as usize
    }

    pub fn default_sampling(&self) -> Sampling {
        unsafe { lumen_default_sampling(self.0) }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { lumen_close(self.0) }
    }
}

pub struct Sampler(Handle);

impl Sampler {
    pub fn new(sampling: Sampling) -> Result<Sampler> {
        let mut sampler = ptr::null_mut();
        checked(|error, size| unsafe { lumen_sampler_new(&sampling, &mut sampler, error, size) })?;
        Ok(Sampler(sampler))
    }

    pub fn accept(&mut self, tokens: &[i32]) -> Result<()> {
        let count = c_int::try_from(tokens.len()).map_err(|_| "there are too many tokens")?;
        checked(|error, size| unsafe { lumen_sampler_accept(self.0, tokens.as_ptr(), count, error, size) })
    }

    pub fn sample(&mut self, logits: &[f32]) -> Result<i32> {
        let (mut token, count) = (0, logits.len() as c_int);
        checked(|error, size| unsafe {
            lumen_sampler_sample(self.0, logits.as_ptr(), count, &mut token, error, size)
        })?;
        Ok(token)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        unsafe { lumen_sampler_free(self.0) }
    }
}

pub struct Tokenizer(Handle);

impl Tokenizer {
    pub fn open(path: &str) -> Result<Tokenizer> {
        let (path, mut tokenizer) = (c_string(path)?, ptr::null_mut());
        checked(|error, size| unsafe { lumen_tokenizer_open(path.as_ptr(), &mut tokenizer, error, size) })?;
        Ok(Tokenizer(tokenizer))
    }

    pub fn encode(&self, text: &str) -> Result<Vec<i32>> {
        let (mut tokens, mut count) = (Vec::new(), 0);
        // Once for their number, once for them.
        for _ in 0..2 {
            tokens.resize(count, 0);
            checked(|error, size| unsafe {
                lumen_tokenizer_encode(self.0, text.as_ptr().cast(), text.len(), NO_EOS, tokens.as_mut_ptr(),
                    tokens.len(), &mut count, error, size)
            })?;
        }
        Ok(tokens)
    }

    pub fn ends(&self, token: i32) -> bool {
        unsafe { lumen_tokenizer_ends(self.0, token) != 0 }
    }
}

impl Drop for Tokenizer {
    fn drop(&mut self) {
        unsafe { lumen_tokenizer_close(self.0) }
    }
}

/// Turns tokens into text as they come.
pub struct Decoder<'a> {
    handle: Handle,
    _tokenizer: &'a Tokenizer,
}

impl<'a> Decoder<'a> {
    pub fn new(tokenizer: &'a Tokenizer) -> Result<Decoder<'a>> {
        let mut handle = ptr::null_mut();
        checked(|error, size| unsafe { lumen_decoder_new(tokenizer.0, 0, &mut handle, error, size) })?;
        Ok(Decoder { handle, _tokenizer: tokenizer })
    }

    pub fn feed(&mut self, token: i32) -> Result<String> {
        let (mut text, mut bytes) = (ptr::null(), 0);
        checked(|error, size| unsafe {
            lumen_decoder_feed(self.handle, token, &mut text, &mut bytes, error, size)
        })?;
        let found = unsafe { std::slice::from_raw_parts(text.cast(), bytes) };
        Ok(String::from_utf8_lossy(found).into_owned())
    }
}

impl Drop for Decoder<'_> {
    fn drop(&mut self) {
        unsafe { lumen_decoder_free(self.handle) }
    }
}

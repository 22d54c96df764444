#![allow(missing_docs, clippy::todo)]
use crate::{Configuration, RepositoryName, Result};
use box_cache::{Digest, Progress};
use box_transfer::{Body, Cause, ClientOptions, Location, Open, Resume, Retry, Url};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub http: ClientOptions,
    pub retry: Retry,
    pub configuration: Configuration,
}
pub struct Registry<'a> {
    _o: &'a Options,
    _p: &'a dyn Progress,
}
pub enum Wanted<'a> {
    Tag(&'a str),
    Digest(&'a Digest),
}
pub struct Repository<'a> {
    _r: &'a (),
}
pub struct Document {
    pub bytes: Vec<u8>,
    pub media_type: String,
    pub digest: Digest,
}
pub enum Parsed {
    Image(ImageManifest),
    Index(ImageIndex),
}
impl<'a> Registry<'a> {
    pub fn new(o: &'a Options, p: &'a dyn Progress) -> Self {
        Self { _o: o, _p: p }
    }
    pub fn repository(&self, _name: &RepositoryName) -> Result<Repository<'_>> {
        todo!()
    }
}
impl Open for Registry<'_> {
    fn open(
        &self,
        _u: &Url,
        _r: Option<&Resume>,
    ) -> box_transfer::Result<std::result::Result<Body, Cause>> {
        todo!()
    }
}
impl Repository<'_> {
    pub fn head(&self, _w: Wanted<'_>) -> Result<Option<Descriptor>> {
        todo!()
    }
    pub fn manifest(&self, _w: Wanted<'_>) -> Result<Document> {
        todo!()
    }
    pub fn blob(&self, _d: &Descriptor, _limit: u64) -> Result<Vec<u8>> {
        todo!()
    }
    pub fn locations(&self, _d: &Digest) -> Vec<Location> {
        todo!()
    }
    pub fn tags(&self) -> Result<Vec<String>> {
        todo!()
    }
}
impl Document {
    pub fn parse(&self) -> Result<Parsed> {
        todo!()
    }
}

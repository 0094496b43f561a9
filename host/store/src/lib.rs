//! Metastore (SQL) and artifacts (blobs by digest)

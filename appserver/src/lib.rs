//! Application server: uploads, pushes, presence and receipts over HTTP.

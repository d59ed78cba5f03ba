//! The platform's stories, by flow. Each builds a domain, acts as its clients would, and looks at what they see.

mod upload;

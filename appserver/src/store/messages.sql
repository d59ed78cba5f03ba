-- What applications send each other (clause 8.4) is stored beside the uploads: 'upload' or 'message'.
ALTER TABLE uploads ADD COLUMN kind TEXT NOT NULL DEFAULT 'upload';

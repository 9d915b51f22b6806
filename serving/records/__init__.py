"""What the service keeps: quotes, the steps of their lives, replies to repeated requests, offers shown."""

from serving.records.rows import Exposure, Page, QuoteRecord, Reply, Step, Write, encode_body
from serving.records.store import RecordStore, SyncRecords, open_records, open_sync_records

__all__ = [
    "Exposure",
    "Page",
    "QuoteRecord",
    "RecordStore",
    "Reply",
    "Step",
    "SyncRecords",
    "Write",
    "encode_body",
    "open_records",
    "open_sync_records",
]

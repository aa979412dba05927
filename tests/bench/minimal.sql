-- What a good engineer would write by hand for one tenant with the retail profile: one pass over the
-- orders, one statement that ranks the customers and stores every row. Nothing is configurable and
-- no history is kept, but each column of customer_analytics gets the value that the service gives it.
-- Parameters: tenant_id, as_of, zone.

CREATE TEMPORARY TABLE totals ON COMMIT DROP AS
WITH clock AS MATERIALIZED (
    SELECT ((:as_of AT TIME ZONE :zone) - interval '30 days') AT TIME ZONE :zone AS since_30d,
           ((:as_of AT TIME ZONE :zone) - interval '90 days') AT TIME ZONE :zone AS since_90d,
           ((:as_of AT TIME ZONE :zone) - interval '180 days') AT TIME ZONE :zone AS since_180d,
           ((:as_of AT TIME ZONE :zone) - interval '365 days') AT TIME ZONE :zone AS since_365d
)
SELECT customer_sk,
       count(*) AS total_orders,
       count(*) FILTER (WHERE counted) AS counted_orders,
       count(*) FILTER (WHERE status = 'pending') AS pending_orders,
       count(*) FILTER (WHERE status = 'accepted') AS accepted_orders,
       count(*) FILTER (WHERE status = 'completed') AS completed_orders,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled_orders,
       count(*) FILTER (WHERE status = 'no_show') AS no_show_orders,
       count(*) FILTER (WHERE status = 'refunded') AS refunded_orders,
       min(ordered_at) FILTER (WHERE counted) AS first_order_at,
       max(ordered_at) FILTER (WHERE counted) AS last_order_at,
       (array_agg(store_sk ORDER BY ordered_at, sk) FILTER (WHERE counted))[1] AS first_store_sk,
       min(local_at) FILTER (WHERE counted)::date AS first_day,
       max(local_at) FILTER (WHERE counted)::date AS last_day,
       min(local_at) FILTER (WHERE counted AND ordered_at >= since_180d)::date AS first_day_180d,
       sum(net_amount)::bigint AS revenue,
       sum(refund_amount)::bigint AS refunded_amount,
       coalesce(sum(discount_amount) FILTER (WHERE counted), 0)::bigint AS discount_amount,
       count(*) FILTER (WHERE counted AND discount_amount > 0) AS discounted_orders,
       sum(item_count) FILTER (WHERE counted)::float8 AS items_bought,
       count(item_count) FILTER (WHERE counted) AS orders_with_items,
       count(*) FILTER (WHERE counted AND ordered_at >= since_30d) AS orders_30d,
       count(*) FILTER (WHERE counted AND ordered_at >= since_90d) AS orders_90d,
       count(*) FILTER (WHERE counted AND ordered_at >= since_180d) AS orders_180d,
       count(*) FILTER (WHERE counted AND ordered_at >= since_365d) AS orders_365d,
       coalesce(sum(net_amount) FILTER (WHERE ordered_at >= since_30d), 0)::bigint AS revenue_30d,
       coalesce(sum(net_amount) FILTER (WHERE ordered_at >= since_90d), 0)::bigint AS revenue_90d,
       coalesce(sum(net_amount) FILTER (WHERE ordered_at >= since_180d), 0)::bigint AS revenue_180d,
       coalesce(sum(net_amount) FILTER (WHERE ordered_at >= since_365d), 0)::bigint AS revenue_365d,
       mode() WITHIN GROUP (ORDER BY local_weekday) FILTER (WHERE counted) AS preferred_shopping_day,
       mode() WITHIN GROUP (ORDER BY local_hour) FILTER (WHERE counted) AS preferred_shopping_hour,
       mode() WITHIN GROUP (ORDER BY payment_method) FILTER (WHERE counted)
           AS preferred_payment_method,
       array_agg(notes ORDER BY ordered_at DESC, sk DESC) FILTER (WHERE notes IS NOT NULL)
           AS order_notes
FROM orders, clock
WHERE tenant_id = :tenant_id AND ordered_at < :as_of
GROUP BY customer_sk;

INSERT INTO customer_analytics AS stored (
    tenant_id, customer_sk, as_of, computed_at, model_version, standing_since, membership_tier,
    total_orders, counted_orders, pending_orders, accepted_orders, completed_orders,
    cancelled_orders, no_show_orders, refunded_orders, first_order_at, last_order_at,
    revenue, refunded_amount, discount_amount, average_order_value,
    orders_30d, orders_90d, orders_180d, orders_365d,
    revenue_30d, revenue_90d, revenue_180d, revenue_365d,
    order_frequency_trend, spend_trend, order_interval_change,
    tenure_days, days_since_last_order, purchase_frequency_days, orders_per_month, monthly_revenue,
    preferred_shopping_day, preferred_shopping_hour, preferred_payment_method,
    preferred_categories, preferred_brands, basket_size, discount_sensitivity, order_notes,
    rfm_status, rfm_recency_days, rfm_frequency, rfm_monetary,
    rfm_recency_score, rfm_frequency_score, rfm_monetary_score, rfm_code, rfm_segment,
    rfm_recency_percentile, rfm_frequency_percentile, rfm_monetary_percentile,
    clv_status, clv, clv_1_year, clv_3_year, clv_percentile, clv_confidence,
    churn_status, churn_score, churn_band, churn_reasons, value_at_risk, lifecycle_segment,
    first_order_day, first_store_sk, loyalty_points, gender, age_group,
    contacts, responses, response_rate, last_contact_at, last_contact_channel,
    preferred_contact_channel, feedback_count, complaint_count, complaints_90d,
    satisfaction_score, satisfaction_at, referred_customers, referral_revenue, influence_score,
    response_level, spending_level, engagement_quadrant,
    next_purchase_status, next_purchase_on, next_purchase_confidence, clv_tier, clv_bucket
)
WITH favourites AS (
    SELECT o.customer_sk, i.category, i.brand, sum(i.quantity) AS quantity
    FROM order_items i
    JOIN orders o ON o.tenant_id = i.tenant_id AND o.sk = i.order_sk
    WHERE i.tenant_id = :tenant_id AND o.counted AND o.ordered_at < :as_of
    GROUP BY 1, 2, 3
), categories AS (
    SELECT customer_sk, (array_agg(category ORDER BY quantity DESC, category))[1:3] AS names
    FROM (SELECT customer_sk, category, sum(quantity) AS quantity FROM favourites
          WHERE category IS NOT NULL GROUP BY 1, 2) c
    GROUP BY 1
), brands AS (
    SELECT customer_sk, (array_agg(brand ORDER BY quantity DESC, brand))[1:3] AS names
    FROM (SELECT customer_sk, brand, sum(quantity) AS quantity FROM favourites
          WHERE brand IS NOT NULL GROUP BY 1, 2) b
    GROUP BY 1
), clock AS (
    SELECT (:as_of AT TIME ZONE :zone)::date AS today,
           ((:as_of AT TIME ZONE :zone) - interval '90 days') AT TIME ZONE :zone AS since_90d,
           ((:as_of AT TIME ZONE :zone) - interval '365 days') AT TIME ZONE :zone AS since_365d
), contacted AS (
    SELECT customer_sk, count(*) AS contacts,
           count(*) FILTER (WHERE responded_at < :as_of) AS responses,
           max(sent_at) AS last_contact_at,
           (array_agg(channel ORDER BY sent_at DESC, sk DESC))[1] AS last_contact_channel,
           mode() WITHIN GROUP (ORDER BY channel) FILTER (WHERE responded_at < :as_of)
               AS preferred_contact_channel
    FROM contacts WHERE tenant_id = :tenant_id AND sent_at < :as_of
    GROUP BY 1
), heard AS (
    SELECT customer_sk, count(*) AS feedback_count,
           count(*) FILTER (WHERE kind = 'complaint') AS complaint_count,
           count(*) FILTER (WHERE kind = 'complaint' AND given_at >= since_90d) AS complaints_90d,
           avg(score) FILTER (WHERE kind IN ('nps', 'csat') AND given_at >= since_365d)::float8
               AS satisfaction_score,
           max(given_at) FILTER (WHERE kind IN ('nps', 'csat') AND given_at >= since_365d)
               AS satisfaction_at
    FROM feedback, clock WHERE tenant_id = :tenant_id AND given_at < :as_of
    GROUP BY 1
), brought AS (
    SELECT c.referred_by_sk AS customer_sk, count(*) AS referred_customers,
           sum(t.revenue)::bigint AS referral_revenue
    FROM customers c LEFT JOIN totals t ON t.customer_sk = c.sk
    WHERE c.tenant_id = :tenant_id AND c.referred_by_sk IS NOT NULL
    GROUP BY 1
), metrics AS (
    SELECT t.*,
           c.sk, c.membership_tier, c.loyalty_points, c.gender,
           coalesce(date_part('year', age(today, c.date_of_birth))::int, c.age_estimate) AS years,
           coalesce(contacts, 0) AS contacts, coalesce(responses, 0) AS responses,
           responses::float8 / contacts AS response_rate,
           last_contact_at, last_contact_channel, contacted.preferred_contact_channel,
           coalesce(feedback_count, 0) AS feedback_count,
           coalesce(complaint_count, 0) AS complaint_count,
           coalesce(complaints_90d, 0) AS complaints_90d, satisfaction_score, satisfaction_at,
           coalesce(referred_customers, 0) AS referred_customers,
           coalesce(referral_revenue, 0) AS referral_revenue,
           today,
           coalesce(counted_orders, 0) AS orders_counted,
           coalesce(t.revenue, 0) AS spent,
           today - first_day AS tenure_days,
           today - last_day AS days,
           (last_day - first_day) / nullif(counted_orders - 1, 0)::float8 AS gap,
           CASE WHEN orders_180d >= 2
                THEN (last_day - first_day_180d) / (orders_180d - 1)::float8 END AS gap_180d,
           greatest(t.revenue, 0)::float8 / nullif(counted_orders, 0) AS order_value,
           greatest((today - first_day)::float8 / 30.44, 1) AS months,
           orders_365d > 0 AS buyer,
           CASE WHEN orders_90d <= 0 THEN NULL
                WHEN orders_30d < orders_90d / 3.0::float8 * 0.5 THEN 'decreasing'
                WHEN orders_30d > orders_90d / 3.0::float8 * 1.5 THEN 'increasing'
                ELSE 'stable' END AS order_trend,
           CASE WHEN revenue_90d <= 0 THEN NULL
                WHEN revenue_30d < revenue_90d / 3.0::float8 * 0.5 THEN 'decreasing'
                WHEN revenue_30d > revenue_90d / 3.0::float8 * 1.5 THEN 'increasing'
                ELSE 'stable' END AS spending_trend
    FROM customers c CROSS JOIN clock
    LEFT JOIN totals t ON t.customer_sk = c.sk
    LEFT JOIN contacted ON contacted.customer_sk = c.sk
    LEFT JOIN heard ON heard.customer_sk = c.sk
    LEFT JOIN brought ON brought.customer_sk = c.sk
    WHERE c.tenant_id = :tenant_id
), valued AS MATERIALIZED (
    SELECT m.*,
           CASE WHEN orders_counted > 0
                THEN order_value * 365 / greatest(coalesce(gap, 365), 7) * 0.3 END AS yearly,
           CASE WHEN orders_counted >= 2
                THEN floor(least(100,
                    least(days, 90) * 30 / 90.0::float8
                    + CASE WHEN orders_30d = 0 AND orders_90d = 0 THEN 30
                           WHEN orders_30d = 0 THEN 20
                           WHEN orders_30d < orders_90d / 3.0::float8 * 0.5 THEN 15 ELSE 0 END
                    + CASE WHEN revenue_30d = 0 AND revenue_90d = 0 THEN 25
                           WHEN revenue_30d = 0 THEN 15
                           WHEN revenue_30d < revenue_90d / 3.0::float8 * 0.5 THEN 10 ELSE 0 END
                    + CASE WHEN order_trend = 'decreasing' THEN 15
                           WHEN spending_trend = 'decreasing' THEN 10 ELSE 0 END
                    + least(complaints_90d * 10, 20)
                    + CASE WHEN satisfaction_score < 5 THEN 15 ELSE 0 END
                    + CASE WHEN contacts >= 3 AND responses < 0.3::float8 * contacts
                           THEN 10 ELSE 0 END
                )) / 100 END AS churn
    FROM metrics m
), steps AS (
    SELECT array_agg(step / 100.0::float8) AS percents FROM generate_series(1, 100) step
), cutoffs AS MATERIALIZED (
    SELECT percentile_cont(ARRAY[0.2, 0.4, 0.6, 0.8]) WITHIN GROUP (ORDER BY days)
               FILTER (WHERE buyer) AS r,
           percentile_cont(ARRAY[0.2, 0.4, 0.6, 0.8]) WITHIN GROUP (ORDER BY orders_365d)
               FILTER (WHERE buyer) AS f,
           percentile_cont(ARRAY[0.2, 0.4, 0.6, 0.8]) WITHIN GROUP (ORDER BY revenue_365d)
               FILTER (WHERE buyer) AS m,
           percentile_cont((SELECT percents FROM steps)) WITHIN GROUP (ORDER BY days)
               FILTER (WHERE buyer) AS r_percents,
           percentile_cont((SELECT percents FROM steps)) WITHIN GROUP (ORDER BY orders_365d)
               FILTER (WHERE buyer) AS f_percents,
           percentile_cont((SELECT percents FROM steps)) WITHIN GROUP (ORDER BY revenue_365d)
               FILTER (WHERE buyer) AS m_percents,
           percentile_cont((SELECT percents FROM steps)) WITHIN GROUP (ORDER BY round(yearly * 3))
               AS clv_percents
    FROM valued
), scored AS (
    SELECT v.*, k.r_percents, k.f_percents, k.m_percents, k.clv_percents,
           CASE WHEN buyer THEN 5 - (days > k.r[1])::int - (days > k.r[2])::int
                                  - (days > k.r[3])::int - (days > k.r[4])::int END AS r,
           CASE WHEN buyer THEN 1 + (orders_365d > k.f[1])::int + (orders_365d > k.f[2])::int
                                  + (orders_365d > k.f[3])::int + (orders_365d > k.f[4])::int END AS f,
           CASE WHEN buyer THEN 1 + (revenue_365d > k.m[1])::int + (revenue_365d > k.m[2])::int
                                  + (revenue_365d > k.m[3])::int + (revenue_365d > k.m[4])::int END AS m
           , width_bucket(round(yearly * 3), k.clv_percents) AS clv_percent,
           CASE WHEN response_rate < 0.3 THEN 'low' WHEN response_rate > 0.7 THEN 'high'
                WHEN response_rate IS NOT NULL THEN 'medium' END AS response_level,
           CASE WHEN coalesce(revenue_365d, 0) > k.m_percents[50] THEN 'high' ELSE 'low' END
               AS spending_level
    FROM valued v CROSS JOIN cutoffs k
), buckets AS (
    SELECT array_agg(step * 10::float8 ^ power * 100 ORDER BY power, step) AS bounds
    FROM generate_series(0, 12) power, unnest(ARRAY[1, 2, 5]) step
)
SELECT :tenant_id, sk, :as_of, clock_timestamp(), 'retail-2',
       (:as_of AT TIME ZONE :zone)::date, membership_tier,
       coalesce(total_orders, 0), orders_counted, coalesce(pending_orders, 0),
       coalesce(accepted_orders, 0), coalesce(completed_orders, 0), coalesce(cancelled_orders, 0),
       coalesce(no_show_orders, 0), coalesce(refunded_orders, 0), first_order_at, last_order_at,
       spent, coalesce(refunded_amount, 0), coalesce(discount_amount, 0), round(order_value),
       coalesce(orders_30d, 0), coalesce(orders_90d, 0), coalesce(orders_180d, 0),
       coalesce(orders_365d, 0), coalesce(revenue_30d, 0), coalesce(revenue_90d, 0),
       coalesce(revenue_180d, 0), coalesce(revenue_365d, 0),
       order_trend, spending_trend, gap_180d / nullif(gap, 0) - 1,
       tenure_days, days, gap, orders_counted / months, round(spent / months),
       preferred_shopping_day, preferred_shopping_hour, preferred_payment_method,
       categories.names, brands.names,
       items_bought / nullif(orders_with_items, 0),
       discounted_orders::float8 / nullif(orders_counted, 0), order_notes,
       CASE WHEN buyer THEN 'ok' ELSE 'insufficient_data' END,
       CASE WHEN buyer THEN days END, coalesce(orders_365d, 0), coalesce(revenue_365d, 0),
       r, f, m, (r * 100 + f * 10 + m)::text,
       CASE WHEN r IS NULL THEN NULL
            WHEN r >= 4 AND f + m >= 8 THEN 'champion'
            WHEN r >= 3 AND f >= 4 THEN 'loyal'
            WHEN r <= 3 AND f + m >= 8 THEN 'at_risk'
            WHEN r >= 4 THEN 'promising'
            ELSE 'hibernating' END,
       CASE WHEN buyer THEN 100 - width_bucket(days - 0.005::float8, r_percents) END,
       CASE WHEN buyer THEN width_bucket(orders_365d::float8, f_percents) END,
       CASE WHEN buyer THEN width_bucket(revenue_365d::float8, m_percents) END,
       CASE WHEN orders_counted > 0 THEN 'ok' ELSE 'insufficient_data' END,
       round(yearly * 3), round(yearly), round(yearly * 3),
       clv_percent,
       CASE WHEN orders_counted > 0
            THEN floor(least(50 + 2 * orders_counted + 0.5 * months, 100)) END,
       CASE WHEN churn IS NOT NULL THEN 'ok' ELSE 'insufficient_data' END, churn,
       CASE WHEN churn >= 0.8 THEN 'critical' WHEN churn >= 0.6 THEN 'high'
            WHEN churn >= 0.3 THEN 'medium' WHEN churn IS NOT NULL THEN 'low' END,
       CASE WHEN churn IS NULL THEN '{}' ELSE (array_remove(ARRAY[
           CASE WHEN days >= 60 THEN 'long_absence' END,
           CASE WHEN orders_30d = 0 THEN 'fewer_orders' END,
           CASE WHEN revenue_30d = 0 THEN 'less_spending' END,
           CASE WHEN complaints_90d > 0 THEN 'complaints' END,
           CASE WHEN satisfaction_score < 5 THEN 'low_satisfaction' END,
           CASE WHEN order_trend = 'decreasing' OR spending_trend = 'decreasing'
                THEN 'falling_trend' END,
           CASE WHEN contacts >= 3 AND responses < 0.3::float8 * contacts
                THEN 'low_response' END
       ], NULL))[1:3] END,
       round(round(yearly * 3) * churn),
       CASE WHEN days IS NULL THEN 'new' WHEN days > 365 THEN 'lost' WHEN days > 180 THEN 'dormant'
            WHEN days > 90 THEN 'at_risk'
            WHEN spent > 1500000000 AND orders_365d > 4 THEN 'vip'
            WHEN orders_365d > 2 THEN 'regular' ELSE 'occasional' END,
       first_day, first_store_sk, loyalty_points, gender,
       CASE WHEN years IS NULL OR years < 0 THEN NULL WHEN years >= 46 THEN '46+'
            WHEN years >= 36 THEN '36-45' WHEN years >= 26 THEN '26-35'
            WHEN years >= 18 THEN '18-25' ELSE 'under_18' END,
       contacts, responses, response_rate, last_contact_at, last_contact_channel,
       preferred_contact_channel, feedback_count, complaint_count, complaints_90d,
       satisfaction_score, satisfaction_at, referred_customers, referral_revenue,
       100 * (0.4::float8 * least(referred_customers / 20.0::float8, 1)
              + 0.4::float8 * least(greatest(referral_revenue, 0) / 1e10::float8, 1)
              + 0.2::float8 * coalesce(response_rate, 0)),
       response_level, spending_level,
       CASE spending_level || response_level
            WHEN 'highhigh' THEN 'engaged_champion' WHEN 'highlow' THEN 'passive_buyer'
            WHEN 'lowhigh' THEN 'potential' WHEN 'lowlow' THEN 'cold' END,
       CASE WHEN gap > 0 THEN 'ok' ELSE 'insufficient_data' END,
       CASE WHEN gap > 0 THEN today + greatest(round(gap)::int - days, 0) END,
       CASE WHEN gap > 0
            THEN (1 - 1 / orders_counted::float8)
                 / (1 + abs(coalesce(gap_180d / gap - 1, 0)))
                 * least(gap / greatest(days, 1), 1) END,
       CASE WHEN clv_percent >= 95 THEN 'platinum' WHEN clv_percent >= 80 THEN 'gold'
            WHEN clv_percent >= 50 THEN 'silver' WHEN clv_percent >= 0 THEN 'bronze' END,
       width_bucket(round(yearly * 3), (SELECT bounds FROM buckets))
FROM scored
LEFT JOIN categories ON categories.customer_sk = scored.sk
LEFT JOIN brands ON brands.customer_sk = scored.sk
ON CONFLICT (tenant_id, customer_sk) DO UPDATE SET
    (as_of, computed_at, model_version, membership_tier,
     total_orders, counted_orders, pending_orders, accepted_orders, completed_orders,
     cancelled_orders, no_show_orders, refunded_orders, first_order_at, last_order_at,
     revenue, refunded_amount, discount_amount, average_order_value,
     orders_30d, orders_90d, orders_180d, orders_365d,
     revenue_30d, revenue_90d, revenue_180d, revenue_365d,
     order_frequency_trend, spend_trend, order_interval_change,
     tenure_days, days_since_last_order, purchase_frequency_days, orders_per_month, monthly_revenue,
     preferred_shopping_day, preferred_shopping_hour, preferred_payment_method,
     preferred_categories, preferred_brands, basket_size, discount_sensitivity, order_notes,
     rfm_status, rfm_recency_days, rfm_frequency, rfm_monetary,
     rfm_recency_score, rfm_frequency_score, rfm_monetary_score, rfm_code, rfm_segment,
     rfm_recency_percentile, rfm_frequency_percentile, rfm_monetary_percentile,
     clv_status, clv, clv_1_year, clv_3_year, clv_percentile, clv_confidence,
     churn_status, churn_score, churn_band, churn_reasons, value_at_risk, lifecycle_segment,
     first_order_day, first_store_sk, loyalty_points, gender, age_group,
     contacts, responses, response_rate, last_contact_at, last_contact_channel,
     preferred_contact_channel, feedback_count, complaint_count, complaints_90d,
     satisfaction_score, satisfaction_at, referred_customers, referral_revenue, influence_score,
     response_level, spending_level, engagement_quadrant,
     next_purchase_status, next_purchase_on, next_purchase_confidence, clv_tier, clv_bucket,
     standing_since) =
    (excluded.as_of, excluded.computed_at, excluded.model_version, excluded.membership_tier,
     excluded.total_orders, excluded.counted_orders, excluded.pending_orders,
     excluded.accepted_orders, excluded.completed_orders, excluded.cancelled_orders,
     excluded.no_show_orders, excluded.refunded_orders, excluded.first_order_at,
     excluded.last_order_at, excluded.revenue, excluded.refunded_amount, excluded.discount_amount,
     excluded.average_order_value, excluded.orders_30d, excluded.orders_90d, excluded.orders_180d,
     excluded.orders_365d, excluded.revenue_30d, excluded.revenue_90d, excluded.revenue_180d,
     excluded.revenue_365d, excluded.order_frequency_trend, excluded.spend_trend,
     excluded.order_interval_change, excluded.tenure_days, excluded.days_since_last_order,
     excluded.purchase_frequency_days, excluded.orders_per_month, excluded.monthly_revenue,
     excluded.preferred_shopping_day, excluded.preferred_shopping_hour,
     excluded.preferred_payment_method, excluded.preferred_categories, excluded.preferred_brands,
     excluded.basket_size, excluded.discount_sensitivity, excluded.order_notes,
     excluded.rfm_status, excluded.rfm_recency_days, excluded.rfm_frequency, excluded.rfm_monetary,
     excluded.rfm_recency_score, excluded.rfm_frequency_score, excluded.rfm_monetary_score,
     excluded.rfm_code, excluded.rfm_segment, excluded.rfm_recency_percentile,
     excluded.rfm_frequency_percentile, excluded.rfm_monetary_percentile, excluded.clv_status,
     excluded.clv, excluded.clv_1_year, excluded.clv_3_year, excluded.clv_percentile,
     excluded.clv_confidence, excluded.churn_status, excluded.churn_score, excluded.churn_band,
     excluded.churn_reasons, excluded.value_at_risk, excluded.lifecycle_segment,
     excluded.first_order_day, excluded.first_store_sk, excluded.loyalty_points,
     excluded.gender, excluded.age_group, excluded.contacts, excluded.responses,
     excluded.response_rate, excluded.last_contact_at, excluded.last_contact_channel,
     excluded.preferred_contact_channel, excluded.feedback_count, excluded.complaint_count,
     excluded.complaints_90d, excluded.satisfaction_score, excluded.satisfaction_at,
     excluded.referred_customers, excluded.referral_revenue, excluded.influence_score,
     excluded.response_level, excluded.spending_level, excluded.engagement_quadrant,
     excluded.next_purchase_status, excluded.next_purchase_on,
     excluded.next_purchase_confidence, excluded.clv_tier, excluded.clv_bucket,
     CASE WHEN (stored.rfm_code, stored.rfm_segment, stored.lifecycle_segment, stored.churn_band,
                stored.membership_tier)
               IS DISTINCT FROM
               (excluded.rfm_code, excluded.rfm_segment, excluded.lifecycle_segment,
                excluded.churn_band, excluded.membership_tier)
          THEN excluded.standing_since ELSE stored.standing_since END);

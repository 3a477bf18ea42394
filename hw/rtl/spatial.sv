// The unit of windows: depthwise 3x3, plain or with a dilation per pixel; 3x3 maximum; im2col. Packet SPATIAL.
//
// Three columns are three cycles, whatever the dilation is. A row stays in the line buffer for as long as the largest
// dilation of the layer (`reach`) can ask for it.
module spatial #(
    parameter int LANES        = 16,
    parameter int SUM_BITS     = 24,
    parameter int MAX_PLANES   = 144,
    parameter int LINE_ROWS    = 16,
    parameter int LINE_VECTORS = 1024
) (
    input  logic                      clk,
    input  logic                      reset,
    input  logic                      packet_valid,
    output logic                      packet_ready,
    input  logic [63:0]               packet,
    input  logic                      features_valid,
    output logic                      features_ready,
    input  logic [8*LANES-1:0]        features,
    input  logic                      pointwise_valid,
    output logic                      pointwise_ready,
    input  logic [8*LANES-1:0]        pointwise,
    input  logic                      dilation_valid,
    output logic                      dilation_ready,
    input  logic [7:0]                dilation,
    output logic                      out_valid,
    input  logic                      out_ready,
    output logic [SUM_BITS*LANES-1:0] out_data
);
    localparam int LINE_BITS = $clog2(LINE_VECTORS);
    localparam int ROW_BITS = $clog2(LINE_ROWS);
    localparam int RING_BITS = $clog2(3 * MAX_PLANES);
    localparam logic [1:0] DEPTHWISE = 2'd0, IM2COL = 2'd2;

    // The packet: kernels go into the ring, the rest waits while the call before computes (`pending`).
    enum logic [2:0] {HEAD, SHAPE, SIZE, KERNELS, THERE} state;

    logic [63:0] head_in, shape_in, size_in;
    logic [17:0] entries;
    logic pending, completes, kernel_ready, unused_bits;
    logic [RING_BITS:0] kernels, kernel_at, kernel_first;

    assign unused_bits = &{head_in[0], head_in[3], head_in[7:6], head_in[39:38], head_in[63:48], shape_in[63:48], size_in[63:48]};
    assign packet_ready = state == HEAD || state == SHAPE || state == SIZE || (state == KERNELS && kernel_ready);

    always_ff @(posedge clk) begin
        case (state)
            HEAD: if (packet_valid) begin
                head_in <= packet;
                state   <= SHAPE;
            end
            SHAPE: if (packet_valid) begin
                shape_in <= packet;
                state    <= SIZE;
            end
            SIZE: if (packet_valid) begin
                size_in <= packet;
                pending <= 1'b1;
                entries <= 18'(head_in[31:16]) * 18'd3;
                state   <= head_in[5:4] == DEPTHWISE ? KERNELS : THERE;
            end
            KERNELS: if (completes) begin
                entries <= entries - 18'd1;
                if (entries == 18'd1) state <= THERE;
            end
            default: if (!pending) state <= HEAD;
        endcase
        if (pending && !busy) pending <= 1'b0;
        if (reset) begin
            state   <= HEAD;
            pending <= 1'b0;
        end
    end

    // The call.
    logic busy, from_pointwise, deformable, work;
    logic [1:0] mode, columns;
    logic [7:0] outside;
    logic [15:0] planes, width, width_out;
    logic [3:0] reach, row_stride, column_stride;
    logic [31:0] rows;

    // Rows come in.
    logic [31:0] row_in, centre_in, reach_in;
    logic [15:0] pixel_in, plane_in;
    logic [LINE_BITS-1:0] vector_in;
    logic room, take, row_comes;
    logic [2:0] row_done;

    assign reach_in = 32'(reach);
    assign room = busy && row_in != rows
        && (!work || row_in + reach_in < (centre_in > reach_in ? centre_in : reach_in) + 32'(LINE_ROWS));
    assign pointwise_ready = room && from_pointwise;
    assign features_ready = room && !from_pointwise;
    assign take = room && (from_pointwise ? pointwise_valid : features_valid);
    assign row_comes = take && plane_in + 16'd1 == planes && pixel_in + 16'd1 == width;

    // Columns of windows are asked for.
    logic [31:0] rows_left, centre;
    logic [15:0] pixel, plane, across_at;
    logic [LINE_BITS-1:0] base_at, step_at;
    logic [1:0] column, tap;
    logic [2:0] d, d_before, d_asked;
    logic ask, ready, first, last_tap, last_column, last_plane, last_pixel, emits, asks_dilation;
    logic may_reserve;
    // Of the pipeline behind them.
    logic [9:0] asked;
    logic [RING_BITS:0] kernels_next;

    assign kernels_next = mode == DEPTHWISE ? kernel_first + (RING_BITS + 1)'(planes) * (RING_BITS + 1)'(3) : kernel_first;
    assign work = rows_left != '0;
    assign ready = row_in == rows || row_in > centre + reach_in;
    assign first = column == 2'd0 && tap == 2'd0;
    assign last_tap = mode != IM2COL || tap == 2'd2;
    assign last_column = last_tap && column + 2'd1 == columns;
    assign last_plane = plane + 16'd1 == planes;
    assign last_pixel = pixel + 16'd1 == width_out;
    assign emits = mode == IM2COL || last_column;
    assign asks_dilation = deformable && first && plane == '0;
    assign d_asked = dilation > 8'd7 ? 3'd7 : dilation[2:0];
    assign d = asks_dilation ? d_asked : d_before;
    assign ask = busy && work && ready && (!asks_dilation || dilation_valid) && (!emits || may_reserve)
        && (mode != DEPTHWISE || kernels != kernel_at);
    assign dilation_ready = ask && asks_dilation;

    always_ff @(posedge clk) begin
        row_done <= {row_done[1:0], ask && last_column && last_plane && last_pixel};
        if (row_done[2]) centre_in <= centre_in + 32'(row_stride);
        if (take) begin
            vector_in <= row_comes ? '0 : vector_in + 1'b1;
            plane_in  <= plane_in + 16'd1 == planes ? 16'd0 : plane_in + 16'd1;
            if (plane_in + 16'd1 == planes) pixel_in <= row_comes ? 16'd0 : pixel_in + 16'd1;
            if (row_comes) row_in <= row_in + 32'd1;
        end
        if (ask) begin
            d_before  <= d;
            kernel_at <= kernel_at + 1'b1;
            tap       <= last_tap ? 2'd0 : tap + 2'd1;
            if (last_tap) column <= last_column ? 2'd0 : column + 2'd1;
            if (last_column) begin
                plane   <= last_plane ? 16'd0 : plane + 16'd1;
                base_at <= base_at + 1'b1;
                if (last_plane) begin
                    kernel_at <= kernel_first;
                    pixel     <= last_pixel ? 16'd0 : pixel + 16'd1;
                    across_at <= last_pixel ? 16'd0 : across_at + 16'(column_stride);
                    base_at   <= last_pixel ? '0 : base_at + step_at;
                    if (last_pixel) begin
                        rows_left <= rows_left - 32'd1;
                        centre    <= centre + 32'(row_stride);
                    end
                end
            end
        end
        if (busy && !work && row_in == rows && asked == '0) begin
            busy         <= 1'b0;
            kernel_first <= kernels_next;
            kernel_at    <= kernels_next;
        end
        if (pending && !busy) begin
            busy           <= 1'b1;
            from_pointwise <= head_in[1];
            deformable     <= head_in[2];
            mode           <= head_in[5:4];
            outside        <= head_in[15:8];
            planes         <= head_in[31:16];
            reach          <= head_in[35:32];
            columns        <= head_in[37:36];
            row_stride     <= head_in[43:40];
            column_stride  <= head_in[47:44];
            rows           <= shape_in[31:0];
            width          <= shape_in[47:32];
            rows_left      <= size_in[31:0];
            width_out      <= size_in[47:32];
            // From the last plane of a pixel to the first one of the next output pixel's centre.
            step_at        <= LINE_BITS'(head_in[47:44] * head_in[31:16] - head_in[31:16] + 16'd1);
            row_in         <= '0;
            centre_in      <= '0;
            centre         <= '0;
            pixel_in       <= '0;
            plane_in       <= '0;
            vector_in      <= '0;
            pixel          <= '0;
            plane          <= '0;
            across_at      <= '0;
            base_at        <= '0;
            column         <= '0;
            tap            <= '0;
            d_before       <= 3'd1;
        end
        if (reset) begin
            busy         <= 1'b0;
            row_done     <= '0;
            kernel_first <= '0;
            kernel_at    <= '0;
        end
    end

    // Where the samples are: a cycle for the sums, one for the address.
    logic signed [32:0] rows_at[3];
    logic signed [17:0] x;
    logic signed [4:0] side;
    logic [LINE_BITS-1:0] at_1, at_2, shift_1;
    logic [3*ROW_BITS-1:0] banks;
    logic [2:0] in_frame;
    logic [RING_BITS-1:0] kernel_1, kernel_2, kernel_3;
    logic [1:0] taps[4];
    logic [8:0] firsts;
    logic [9:0] lasts;
    logic [3*8*LANES-1:0] samples, kernel;
    logic [SUM_BITS*LANES-1:0] sums;
    logic in_row;

    assign side = column == 2'd0 ? -$signed({2'b0, d}) : column == 2'd1 ? 5'sd0 : $signed({2'b0, d});
    assign in_row = x >= 0 && x < 18'(width);

    always_ff @(posedge clk) begin
        rows_at[0] <= {1'b0, centre} - 33'(d);
        rows_at[1] <= {1'b0, centre};
        rows_at[2] <= {1'b0, centre} + 33'(d);
        x          <= 18'(across_at) + 18'(side);
        at_1       <= base_at;
        shift_1    <= LINE_BITS'(side) * LINE_BITS'(planes);
        at_2       <= at_1 + shift_1;
        for (int index = 0; index < 3; index++) begin
            banks[ROW_BITS*index +: ROW_BITS] <= rows_at[index][ROW_BITS-1:0];
            in_frame[index] <= in_row && rows_at[index] >= 0 && rows_at[index] < $signed({1'b0, rows});
        end
        kernel_1 <= kernel_at[RING_BITS-1:0];
        kernel_2 <= kernel_1;
        kernel_3 <= kernel_2;
        taps[0]  <= tap;
        taps[1]  <= taps[0];
        taps[2]  <= taps[1];
        taps[3]  <= taps[2];
        asked    <= {asked[8:0], ask};
        firsts   <= {firsts[7:0], first};
        lasts    <= {lasts[8:0], emits};
        if (reset) asked <= '0;
    end

    line_buffer #(.LANES(LANES), .LINE_ROWS(LINE_ROWS), .LINE_VECTORS(LINE_VECTORS)) line (
        .clk, .write(take), .write_row(row_in[ROW_BITS-1:0]), .write_at(vector_in),
        .write_data(from_pointwise ? pointwise : features),
        .read_at(at_2), .read_row(banks), .in_frame, .outside, .samples
    );
    kernel_ring #(.LANES(LANES), .DEPTH(1 << RING_BITS)) kernels_of_calls (
        .clk, .reset, .in_valid(packet_valid && state == KERNELS), .in_ready(kernel_ready), .in_data(packet), .completes,
        .written(kernels), .base(kernel_first), .read_at(kernel_3), .read_data(kernel)
    );

    for (genvar lane = 0; lane < LANES; lane++) begin : lanes
        window_lane #(.SUM_BITS(SUM_BITS)) window (
            .clk, .mode, .tap(taps[3]), .valid(asked[8]), .first(firsts[8]),
            .samples({samples[8*(2*LANES+lane) +: 8], samples[8*(LANES+lane) +: 8], samples[8*lane +: 8]}),
            .kernel({kernel[8*(2*LANES+lane) +: 8], kernel[8*(LANES+lane) +: 8], kernel[8*lane +: 8]}),
            .sum(sums[SUM_BITS*lane +: SUM_BITS])
        );
    end

    outbox #(.WIDTH(SUM_BITS * LANES), .DEPTH(32)) out (
        .clk, .reset, .may_reserve, .reserve(ask && emits), .push(asked[9] && lasts[9]), .push_data(sums),
        .out_valid, .out_ready, .out_data
    );
endmodule
